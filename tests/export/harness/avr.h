/* What the programs for a simulated ATmega share: decimal numbers on the serial port, a clock, an end. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>

static void put(char byte)
{
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UDR0 = (uint8_t)byte;
}

static void put_number(uint32_t value, char end)
{
    char digits[10];
    uint8_t count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        put(digits[--count]);
    put(end);
}

static void begin(void)
{
    UCSR0B = 1 << TXEN0;
    TCCR1B = (1 << CS12) | (1 << CS10); /* the timer counts every 1024 cycles */
}

/* The simulator ends where a chip would sleep for ever; the text must be out by then. */
static void end(void)
{
    put('\n');
    for (volatile uint16_t wait = 0; wait < 20000; wait++) {
    }
    cli();
    sleep_mode();
}
