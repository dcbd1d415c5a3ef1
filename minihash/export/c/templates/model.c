//: head
/* $name.c: made by minihash $version. The functions are explained in $name.h, the loops here.
 *
 * i is an output unit, j an input unit, z the sum of a unit, a its input. V is a layer's weight matrix, which
 * is stored nowhere: its entry V[i, j] is a stored weight, found by a hash of its position.
 */
#include "$name.h"

${math}#include <stddef.h>

#ifdef __AVR__ /* constants stay in flash memory, which has instructions of its own */
#if ${NAME}_FLASH_BYTES > 60000
#error "more constants than addresses of 16 bits reach: quantise the model, or compress it more"
#endif
#include <avr/pgmspace.h>
#define IN_FLASH PROGMEM
#define READ_FLOAT(place) pgm_read_float(place)
#define READ_U8(place) pgm_read_byte(place)
#define READ_I8(place) ((int8_t)pgm_read_byte(place))
#define READ_U16(place) pgm_read_word(place)
#define READ_U32(place) pgm_read_dword(place)
#define READ_I32(place) ((int32_t)pgm_read_dword(place))
#else
#define IN_FLASH
#define READ_FLOAT(place) (*(place))
#define READ_U8(place) (*(place))
#define READ_I8(place) (*(place))
#define READ_U16(place) (*(place))
#define READ_U32(place) (*(place))
#define READ_I32(place) (*(place))
#endif

typedef $index index_t; /* counts units and weights of a layer */
typedef $number_t number_t; /* sums */
typedef $value_t value_t; /* inputs of a layer */
typedef $weight_t weight_t;
//: input
/* Input j as the first layer sees it: from the array, or if there is none, from whoever brings it. */
static float input(const float *x, float (*read)(uint32_t j), index_t j)
{
    const float raw = x != NULL ? x[j] : read(j);

    return $scaled;
}

float ${name}_unscaled(uint32_t j, float value)
{
    const float scale = $scale;

    (void)j; /* unless features have a scaling each */
    return (scale > $least || scale < -$least ? value / scale : 0.0f) + $shift;
}
//: whole_input
/* Input j: from the array, or if there is none, from whoever brings it. */
static value_t input(const $input_t *x, $input_t (*read)(uint32_t j), index_t j)
{
    return (value_t)(x != NULL ? x[j] : read(j));
}
//: floor
/* x / 2^n, rounded down: C leaves the shift of negative numbers to the compiler. */
static int64_t shift_down(int64_t x, uint8_t n)
{
    return x < 0 ? ~(~x >> n) : x >> n;
}
//: bias_of
/* A bias: its code times what stands for 1, in 256ths. */
static number_t bias_of(number_t code, number_t one)
{
    return (number_t)shift_down((int64_t)code * one + 128, 8);
}
//: round
/* Sums become whole numbers of $low to $high: z times $ratio. */
static number_t $call(number_t z)
{
    const int64_t number = shift_down((int64_t)z * $multiplier + (INT64_C(1) << ($shift - 1)), $shift);

    return number < $low ? $low : number > $high ? $high : (number_t)number;
}
//: round_relu
/* Sums become whole numbers of 0 to $high: z times $ratio, and none below 0. */
static number_t $call(number_t z)
{
    int64_t number;

    if (z <= 0)
        return 0;
    number = ((int64_t)z * $multiplier + (INT64_C(1) << ($shift - 1))) >> $shift;
    return number > $high ? $high : (number_t)number;
}
//: look_up
/* What a function makes of a whole number. */
static number_t $call(number_t z)
{
    return $read;
}
//: forward
/* ------------------------------------------------------------------------------------------ the network */

$buffers
static void forward(const $input_t *x, $input_t (*read)(uint32_t j), $number_t *out)
{
$lines
}

void ${name}_predict(const $input_t *x, $number_t *out)
{
    forward(x, NULL, out);
}

void ${name}_predict_stream($input_t (*read)(uint32_t j), $number_t *out)
{
    forward(NULL, read, out);
}

int ${name}_label(const $number_t *out)
{
$label
}

int ${name}_classify(const $input_t *x)
{
    static $number_t out[$outputs];

    forward(x, NULL, out);
    return ${name}_label(out);
}
//: label
    int best = 0;

    for (int i = 1; i < $outputs; i++)
        if (out[i] > out[best])
            best = i;
    return best;
//: label_of_one
    return out[0] > 0; /* a single output decides between two classes */
