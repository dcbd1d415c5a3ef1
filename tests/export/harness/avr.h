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

static volatile uint16_t overflows; /* of the timer, one in 67 million cycles */

ISR(TIMER1_OVF_vect)
{
    overflows++;
}

static void begin(void)
{
    UCSR0B = 1 << TXEN0;
    TCCR1B = (1 << CS12) | (1 << CS10); /* the timer counts every 1024 cycles */
    TIMSK1 = 1 << TOIE1;
    sei();
}

static inline void start_clock(void)
{
    overflows = 0;
    TCNT1 = 0;
}

/* The cycles since, in thousands: 1024 of them. */
static inline uint32_t clock_kilocycles(void)
{
    const uint16_t ticks = TCNT1;

    return ((uint32_t)overflows << 16) + ticks;
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
