//: row
/* Row i of V is a window of $S consecutive weights: it starts at the one returned here, and wraps around. */
static index_t ${L}_start(index_t i, float *sign)
{
    const uint32_t hash = hash_column(hash_row(i, $seed), EVERY);

    *sign = $row_sign;
    return scale($bits, $K);
}

//: signs
/* Every input has a sign of its own, the same for all rows. */
static float ${L}_signed(index_t j, float a)
{
    return hash_column(hash_row(EVERY, $seed), j) & 1u ? -a : a;
}
//: fold
/* The inputs are signed and folded once for all rows: folded_t = sum of the inputs j whose place is t. */
static void ${L}_add(float *folded, index_t j, float a)
{
    if (a != 0.0f)
        folded[$place] += $signed_input;
}

static void ${L}_begin(float *folded)
{
    for (index_t t = 0; t < $S; t++)
        folded[t] = 0.0f;
$bias_input}

/* z_i = sum_t window_t folded_t: nothing is hashed for the single weight, and a 0 costs next to nothing. */
static float ${L}_unit(const float *folded, index_t i)
{
    float sign, z = 0.0f;
    index_t k = ${L}_start(i, &sign);

    for (index_t t = 0; t < $S; t++) {
        if (folded[t] != 0.0f)
            z += ${L}_weight(k) * folded[t];
        if (++k == $K)
            k = 0;
    }
    return $unit;
}
//: back
static float ${L}_grad_folded[$S];

/* The gradient of the folded inputs, sum_i delta_i window_t, and back to every input from its place. */
static void ${L}_back(const float *delta, float *grad)
{
    for (index_t t = 0; t < $S; t++)
        ${L}_grad_folded[t] = 0.0f;
    for (index_t i = 0; i < $out; i++) {
        float sign;
        index_t k = ${L}_start(i, &sign);

        for (index_t t = 0; delta[i] != 0.0f && t < $S; t++) {
            ${L}_grad_folded[t] += sign * delta[i] * ${L}_weight(k);
            if (++k == $K)
                k = 0;
        }
    }
    for (index_t j = 0; j < $in; j++)
        grad[j] = $signed_grad;
}
//: update
/* The gradient of the window's weight t is delta_i folded_t; windows overlap, so a weight's is a sum. */
static void ${L}_update(const float *folded, const float *delta)
{
    for (index_t i = 0; i < $out; i++) {
        float sign;
        index_t k = ${L}_start(i, &sign);

        for (index_t t = 0; delta[i] != 0.0f && t < $S; t++) {
            if (folded[t] != 0.0f)
                ${L}_step(k, sign * delta[i] * folded[t]);
            if (++k == $K)
                k = 0;
        }
    }
$bias_loop}
