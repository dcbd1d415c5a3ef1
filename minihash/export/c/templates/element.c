//: entry
/* V[i, j]: one hash gives the weight's bucket and its sign; `row` is the half of the hash that i gave. */
static weight_t ${L}_entry(uint32_t row, index_t j)
{
    const uint32_t hash = hash_column(row, j);
    const weight_t weight = ${L}_weight(scale($bits, $K));

    return $signed_weight;
}
//: input
/* z = bias, before the first input. */
static void ${L}_begin(number_t *z)
{
    for (index_t i = 0; i < $out; i++)
        z[i] = $bias;
}

/* z_i += V[i, j] a for every unit i: input j does all it has to do, and need not be kept. */
static void ${L}_add(number_t *z, index_t j, value_t a)
{
    if (a == 0)
        return; /* it adds nothing: no hash is made */
    for (index_t i = 0; i < $out; i++)
        z[i] += ${L}_entry(hash_row(i, $seed), j) * a;
}
//: unit
/* z_i = sum_j V[i, j] a_j + bias: unit i is made at once, and need not be kept. */
static number_t ${L}_unit(const number_t *a, index_t i)
{
    const uint32_t row = hash_row(i, $seed);
    number_t z = $bias;

    for (index_t j = 0; j < $in; j++)
        if (a[j] != 0)
            z += ${L}_entry(row, j) * (value_t)a[j];
    return $unit;
}
//: back
/* grad_j = sum_i delta_i V[i, j] */
static void ${L}_back(const float *delta, float *grad)
{
    for (index_t j = 0; j < $in; j++)
        grad[j] = 0.0f;
    for (index_t i = 0; i < $out; i++) {
        const uint32_t row = hash_row(i, $seed);

        if (delta[i] == 0.0f)
            continue;
        for (index_t j = 0; j < $in; j++)
            grad[j] += delta[i] * ${L}_entry(row, j);
    }
}
//: update
/* The gradient of V[i, j] goes to the weight in its bucket, with its sign: a bucket's gradient is a sum. */
static void ${L}_move(index_t i, index_t j, float grad)
{
    const uint32_t hash = hash_column(hash_row(i, $seed), j);

    ${L}_step(scale($bits, $K), $signed_grad);
}

/* The gradient of V[i, j] is delta_i a_j. */
static void ${L}_update(const float *$source, const float *delta)
{
    for (index_t j = 0; j < $in; j++) {
        const float a = $input;

        if (a == 0.0f)
            continue;
        for (index_t i = 0; i < $out; i++)
            if (delta[i] != 0.0f)
                ${L}_move(i, j, delta[i] * a);
    }
$bias_loop}
