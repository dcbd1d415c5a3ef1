/* ${name}_selftest.c: made by minihash $version. Inputs made by a formula, and what must come out. */
#include "$name.h"

#ifdef __AVR__
#include <avr/pgmspace.h>
#define IN_FLASH PROGMEM
#define READ_FLOAT(place) pgm_read_float(place)
#define READ_I32(place) ((int32_t)pgm_read_dword(place))
#else
#define IN_FLASH
#define READ_FLOAT(place) (*(place))
#define READ_I32(place) (*(place))
#endif
#define VECTORS $vectors

static const $number_t golden[VECTORS][${NAME}_OUTPUTS] IN_FLASH = {
$golden
};
${tables}static uint32_t vector;

static $input_t read(uint32_t j)
{
    const uint32_t byte = ((j + 1u + vector * 1000003u) * 2654435761u) >> 24;

    return $value;
}

int ${name}_selftest(void)
{
    static $number_t out[${NAME}_OUTPUTS];

    for (vector = 0; vector < VECTORS; vector++) {
        ${name}_predict_stream(read, out);
        for (int i = 0; i < ${NAME}_OUTPUTS; i++) {
$compare
        }
    }
    return 0;
}
//: floats
            const float error = out[i] - READ_FLOAT(&golden[vector][i]);

            if (!(error <= $tolerance && -error <= $tolerance))
                return (int)vector + 1;
//: whole
            if (out[i] != READ_I32(&golden[vector][i]))
                return (int)vector + 1;
//: whole_number
($input_t)($low + (int)(byte % $count))
//: pixel
(float)byte
//: number
${name}_unscaled(j, ((float)byte - 128.0f) / 64.0f)
