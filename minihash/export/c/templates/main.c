/* main.c: made by minihash $version, an example. It tests the model, then answers rows of numbers. */
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
#else /* a computer: rows of ${NAME}_INPUTS numbers on standard input, a line for each on standard output */
$accepting#include <stdio.h>
#include <stdlib.h>

#define WORD 128 /* characters of a number, at most */

static unsigned long line = 1; /* that is being read */
static int words, rows;        /* that end on it */

$answer
/* Say what cannot be read. */
static int refuse(const char *what, const char *word)
{
    fprintf(stderr, "$name: line %lu %s%s\n", line, what, word);
    return -1;
}

static int is_space(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int ends_word(int c)
{
    return c == EOF || c == ',' || is_space(c);
}

/* Read number j of a row; return 1, or 0 at the end of the input, or -1 where something else is.
 * Between numbers there is white space, a comma, or both. A row may take several lines, and a line have
 * several rows; but a line with whole rows and a part of one has columns too many, or too few. */
static int read_number(uint32_t j, $input_t *number)
{
    char word[WORD + 1], *end;
    float value;
    size_t length = 0;
    int c, comma = 0;

    for (c = getchar(); c == ',' || is_space(c); c = getchar()) {
        if ((c == ',' && (comma || words == 0)) || (c == '\n' && comma))
            return refuse("has nothing at a comma", "");
        if (c == '\n' && rows > 0 && j > 0)
            return refuse("ends inside a row, wanted $inputs numbers a row", "");
        comma |= c == ',';
        if (c == '\n') {
            words = rows = 0;
            line++;
        }
    }
    for (; !ends_word(c) && length < WORD; c = getchar())
        word[length++] = (char)c;
    ungetc(c, stdin);
    word[length] = '\0';
    if (length == 0)
        return comma ? refuse("has nothing at a comma", "") : 0;
    value = strtof(word, &end);
    if (!ends_word(c) || end != word + length || !($accepted))
        return refuse("has no $wanted but ", word);
    *number = ($input_t)value;
    words++;
    return 1;
}

int main(void)
{
    static $input_t x[${NAME}_INPUTS];
    static $number_t out[${NAME}_OUTPUTS];
    uint32_t j = 0;
    int found;

    if (${name}_selftest() != 0) {
        fputs("$name: self-test failed\n", stderr);
        return 1;
    }
    fputs("$name: self-test passed\n", stderr);
    while ((found = read_number(j, &x[j])) > 0)
        if (++j == ${NAME}_INPUTS) {
            ${name}_predict(x, out);
            answer(out);
            rows++;
            j = 0;
        }
    if (found == 0 && j > 0)
        found = refuse("ends the input inside a row, wanted $inputs numbers a row", "");
    if (ferror(stdin) || fflush(stdout) != 0 || ferror(stdout)) {
        perror("$name");
        return 1;
    }
    return found < 0;
}
#endif
//: class
static const char *const names[] = ${NAME}_CLASS_NAMES;

/* Write the name of the likeliest class. */
static void answer(const $number_t *out)
{
    puts(names[${name}_label(out)]);
}
//: outputs
/* Write the outputs. */
static void answer(const $number_t *out)
{
    for (int k = 0; k < ${NAME}_OUTPUTS; k++)
        printf(k > 0 ? " $printed" : "$printed", ($wide)out[k]);
    putchar('\n');
}
//: floats
#include <float.h>
#include <math.h>
