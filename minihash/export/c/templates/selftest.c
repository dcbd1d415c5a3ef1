/* ${name}_selftest.c: made by minihash $version. Inputs made by a formula, and what must come out. */
#include "$name.h"

#ifdef __AVR__
#include <avr/pgmspace.h>
#define IN_FLASH PROGMEM
#define READ_FLOAT(place) pgm_read_float(place)
#else
#define IN_FLASH
#define READ_FLOAT(place) (*(place))
#endif
#define VECTORS $vectors

static const float golden[VECTORS][${NAME}_OUTPUTS] IN_FLASH = {
$golden
};
${tables}static uint32_t vector;

static float read(uint32_t j)
{
    const uint32_t byte = ((j + 1u + vector * 1000003u) * 2654435761u) >> 24;

    return $value;
}

int ${name}_selftest(void)
{
    static float out[${NAME}_OUTPUTS];

    for (vector = 0; vector < VECTORS; vector++) {
        ${name}_predict_stream(read, out);
        for (int i = 0; i < ${NAME}_OUTPUTS; i++) {
            const float error = out[i] - READ_FLOAT(&golden[vector][i]);

            if (!(error <= $tolerance && -error <= $tolerance))
                return (int)vector + 1;
        }
    }
    return 0;
}
//: pixel
(float)byte
//: number
${name}_unscaled(j, ((float)byte - 128.0f) / 64.0f)
