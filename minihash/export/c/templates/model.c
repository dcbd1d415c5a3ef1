//: head
/* $name.c: made by minihash $version. The functions are explained in $name.h, the loops here.
 *
 * i is an output unit, j an input unit, z the sum of a unit, a its input. V is a layer's weight matrix, which
 * is stored nowhere: its entry V[i, j] is a stored weight, found by a hash of its position.
 */
#include "$name.h"

#include <math.h>
#include <stddef.h>

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
#else
#define IN_FLASH
#define READ_FLOAT(place) (*(place))
#define READ_U8(place) (*(place))
#define READ_I8(place) (*(place))
#define READ_U16(place) (*(place))
#define READ_U32(place) (*(place))
#endif

typedef $index index_t; /* counts units and weights of a layer */
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
//: forward
/* ------------------------------------------------------------------------------------------ the network */

$buffers
static void forward(const float *x, float (*read)(uint32_t j), float *out)
{
$lines
}

void ${name}_predict(const float *x, float *out)
{
    forward(x, NULL, out);
}

void ${name}_predict_stream(float (*read)(uint32_t j), float *out)
{
    forward(NULL, read, out);
}

int ${name}_label(const float *out)
{
$label
}

int ${name}_classify(const float *x)
{
    static float out[$outputs];

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
    return out[0] > 0.0f; /* a single output decides between two classes */
