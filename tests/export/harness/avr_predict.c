/* For a simulated ATmega: digits in flash memory, read input by input; the label and the cycles of each.
 * The self-test comes first, unless there is no room for it: -DNO_SELFTEST. */
#include "avr.h"
#include "digits.h"
#include "model.h"

#ifndef INPUT_T
#define INPUT_T float
#define NUMBER_T float
#endif

static const uint8_t *digit;

static INPUT_T read(uint32_t j)
{
    return (INPUT_T)pgm_read_byte(&digit[j]);
}

int main(void)
{
    static NUMBER_T out[MODEL_OUTPUTS];

    begin();
#ifndef NO_SELFTEST
    put_number((uint32_t)model_selftest(), '\n');
#endif
    for (uint8_t n = 0; n < DIGITS; n++) {
        digit = digits[n];
        start_clock();
        model_predict_stream(read, out);
        const uint32_t kilocycles = clock_kilocycles();
        put_number((uint32_t)model_label(out), ' ');
        put_number(kilocycles * 1024, '\n');
    }
    end();
}
