//: entry
/* Row i keeps the inputs whose hashes are smallest: those up to the largest that is kept. */
static int ${L}_keeps(index_t i, index_t j)
{
    return hash_column(hash_row(i, $seed), j) <= READ_U32(&${L}_last[i]);
}
//: first
/* The place of the first weight of row i: they lie row after row. */
static size_t ${L}_first(index_t i)
{
    return $first;
}
//: input
/* The weights lie in the order in which the loops meet them: this is the place of the next. */
static uint32_t ${L}_next;

/* z = bias, before the first input. */
static void ${L}_begin(float *z)
{
    ${L}_next = 0;
    for (index_t i = 0; i < $out; i++)
        z[i] = $bias;
}

/* z_i += V[i, j] a for every unit i that keeps input j; inputs come in their order. */
static void ${L}_add(float *z, index_t j, float a)
{
    for (index_t i = 0; i < $rows; i++)
        if (${L}_keeps(i, j)) {
            z[i] += ${L}_weight(${L}_next) * a;
            ${L}_next++;
        }
}
//: unit
/* z_i = sum_j V[i, j] a_j + bias, over the inputs that it keeps. */
static float ${L}_unit(const float *a, index_t i)
{
    float z = $bias;
    size_t k = ${L}_first(i);

    for (index_t j = 0; i < $rows && j < $in; j++)
        if (${L}_keeps(i, j)) {
            z += ${L}_weight(k) * a[j];
            k++;
        }
    return z;
}
//: back
/* grad_j = sum_i delta_i V[i, j], over the rows that keep input j. */
static void ${L}_back(const float *delta, float *grad)
{
    size_t k = 0;

    for (index_t j = 0; j < $in; j++)
        grad[j] = 0.0f;
    for (index_t i = 0; i < $rows; i++)
        for (index_t j = 0; j < $in; j++)
            if (${L}_keeps(i, j)) {
                grad[j] += delta[i] * ${L}_weight(k);
                k++;
            }
}
//: update_by_input
/* The gradient of a weight is delta_i a_j. */
static void ${L}_update(const float *$source, const float *delta)
{
    size_t k = 0;

    for (index_t j = 0; j < $in; j++) {
        const float a = $input;

        for (index_t i = 0; i < $rows; i++)
            if (${L}_keeps(i, j)) {
                ${L}_step(k, delta[i] * a);
                k++;
            }
    }
$bias_loop}
//: update_by_unit
/* The gradient of a weight is delta_i a_j. */
static void ${L}_update(const float *a, const float *delta)
{
    size_t k = 0;

    for (index_t i = 0; i < $rows; i++)
        for (index_t j = 0; j < $in; j++)
            if (${L}_keeps(i, j)) {
                ${L}_step(k, delta[i] * a[j]);
                k++;
            }
$bias_loop}
