/* For a simulated ATmega: digits in flash memory, learned in some passes; mistakes before and after, then the
 * parameters' bits, to compare with. */
#include "avr.h"
#include "digits.h"
#include "model.h"

static float x[MODEL_INPUTS];

static void load(uint8_t n)
{
    for (uint16_t j = 0; j < MODEL_INPUTS; j++)
        x[j] = (float)pgm_read_byte(&digits[n][j]);
}

static uint16_t mistakes(void)
{
    uint16_t count = 0;

    for (uint8_t n = 0; n < DIGITS; n++) {
        load(n);
        count += model_classify(x) != pgm_read_byte(&labels[n]);
    }
    return count;
}

static void put_bits(uint32_t place, float value)
{
    union {
        float number;
        uint32_t bits;
    } both = {value};

    (void)place;
    put_number(both.bits, '\n');
}

int main(void)
{
    begin();
    model_learning_rate = LEARNING_RATE;
    put_number(mistakes(), '\n');
    for (uint8_t pass = 0; pass < PASSES; pass++)
        for (uint8_t n = 0; n < DIGITS; n++) {
            load(n);
            model_train_step(x, pgm_read_byte(&labels[n]));
        }
    put_number(mistakes(), '\n');
    model_read_parameters(put_bits);
    end();
}
