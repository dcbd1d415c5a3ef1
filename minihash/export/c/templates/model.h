/* $name: made by minihash $version. $summary
 *
$report
 *
 * Static buffers: one inference at a time. Nothing is allocated, nothing recurses, $arithmetic
 */
#ifndef ${NAME}_H
#define ${NAME}_H

$includes

${names}#define ${NAME}_INPUTS $inputs
#define ${NAME}_OUTPUTS $outputs
#define ${NAME}_FLASH_BYTES $flash /* weights and tables */
#define ${NAME}_CODE_BYTES $code /* at most, as avr-gcc -Os compiles it */
$ram
#ifdef __cplusplus
extern "C" {
#endif

/* $what */
void ${name}_predict(const $input_t *x, $number_t *out);

/* The same, asking for the inputs: $reading. */
void ${name}_predict_stream($input_t (*read)(uint32_t j), $number_t *out);

/* The likeliest class: of given outputs, and of raw inputs. */
int ${name}_label(const $number_t *out);
int ${name}_classify(const $input_t *x);

$unscaled/* In ${name}_selftest.c: 0 if the golden vectors come out, else the number (1, 2) of the first wrong one. */
int ${name}_selftest(void);
$classes$training
#ifdef __cplusplus
}
#endif

#endif
//: floats
The outputs (${NAME}_OUTPUTS of them, for a classifier its logits, for a regression numbers in the units of
 * its targets) for raw inputs x (${NAME}_INPUTS).
//: unscaled
/* The raw input j that the model scales to a value; of standardised data most are between -2 and 2. */
float ${name}_unscaled(uint32_t j, float value);
//: whole
The sums (${NAME}_OUTPUTS of them) for inputs x (${NAME}_INPUTS) that are whole numbers from $low to $high:
 * floor((raw - shift) * scale + 1/2), cut to that range, with a shift of $shift and a scale of $scale.
 * An output is its sum times $unit.
