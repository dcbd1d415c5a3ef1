/* For a simulated Cortex-M3 without an operating system: digits in flash, their labels by semihosting. */
#include <stddef.h>
#include <stdint.h>

#define PROGMEM
#include "digits.h"
#include "model.h"

extern uint32_t data_start[], data_end[], data_source[], bss_start[], bss_end[], stack_top[];
void reset(void);

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[] = {
    (uintptr_t)stack_top,
    (uintptr_t)reset,
};

/* Ask the debugger, here the simulator, to do something. */
static void semihost(uint32_t operation, uintptr_t argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void put(char byte)
{
    semihost(0x03, (uintptr_t)&byte);
}

#ifndef INPUT_T
#define INPUT_T float
#define NUMBER_T float
#endif

static const uint8_t *digit;

static INPUT_T read(uint32_t j)
{
    return digit[j];
}

void reset(void)
{
    static NUMBER_T out[MODEL_OUTPUTS];

    for (ptrdiff_t word = 0; word < data_end - data_start; word++)
        data_start[word] = data_source[word];
    for (uint32_t *word = bss_start; word < bss_end; word++)
        *word = 0;
    put((char)('0' + model_selftest()));
    for (uint32_t n = 0; n < DIGITS; n++) {
        digit = digits[n];
        model_predict_stream(read, out);
        put((char)('0' + model_label(out)));
    }
    semihost(0x18, 0x20026); /* the application ended */
    for (;;) {
    }
}
