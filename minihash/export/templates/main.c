/* main.c: made by minihash $version, an example. It tests the model, then classifies. */
#include "$name.h"

#ifdef __AVR__ /* an Arduino Uno: the LED at PB5 says that the golden vectors came out */
#include <avr/io.h>

int main(void)
{
    DDRB = (uint8_t)(1u << PB5);
    if (${name}_selftest() == 0)
        PORTB = (uint8_t)(1u << PB5);
    for (;;) {
    }
}
#else /* a computer: rows of ${NAME}_INPUTS numbers on standard input, their classes on standard output */
#include <stdio.h>

int main(void)
{
    static float x[${NAME}_INPUTS];

    if (${name}_selftest() != 0) {
        fputs("$name: self-test failed\n", stderr);
        return 1;
    }
    fputs("$name: self-test passed\n", stderr);
    for (;;) {
        for (uint32_t j = 0; j < ${NAME}_INPUTS; j++)
            if (scanf("%f", &x[j]) != 1)
                return 0;
        printf("%d\n", ${name}_classify(x));
    }
}
#endif
