//: slot
/* For each segment of the inputs, row i draws a tile of the weights, and a sign: the hash's highest bit. */
static index_t ${L}_tile(uint32_t hash)
{
    return scale($bits, $T);
}

/* Where a tile starts among the weights. */
static size_t ${L}_start(index_t tile)
{
    return $start;
}
//: bias
/* The bias of unit i, whose hash begins with `row`: the code at the bias's place, times what stands for 1. */
static number_t ${L}_bias(uint32_t row)
{
    const uint32_t hash = hash_column(row, $bias_segment);
    const number_t product = $bias_sign${L}_weight(${L}_start(${L}_tile(hash)) + $bias_offset);

    return bias_of($signed_product, $one);
}
//: products
/* Input j adds to the product of its segment with each of the $T tiles: once for all units. */
static void ${L}_add(number_t *products, index_t j, value_t a)
{
    const $entry_t entry = $entry;
    const index_t segment = (index_t)(entry >> 1) / $B;
    const index_t offset = (index_t)(entry >> 1) % $B;
    number_t *const product = products + (size_t)segment * $T;

    if (a == 0)
        return; /* it adds nothing */
    if (entry & 1u)
        a = (value_t)-a;
    for (index_t t = 0; t < $T; t++)
        product[t] += ${L}_weight(${L}_start(t) + offset) * a;
}

/* Every tile was multiplied by nothing yet but the bias's 1, if that has a column. */
static void ${L}_begin(number_t *products)
{
    for (index_t n = 0; n < $products; n++)
        products[n] = 0;
$begin_bias}

/* z_i: the products of the tiles that row i drew, a hash each. */
static number_t ${L}_unit(const number_t *products, index_t i)
{
    const uint32_t row = hash_row(i, $seed);
    number_t z = $bias;

    for (index_t g = 0; g < $G; g++) {
        const uint32_t hash = hash_column(row, g);
        const number_t product = products[(size_t)g * $T + ${L}_tile(hash)];

        z += $signed_product;
    }
    return $unit;
}
//: products_scatter
/* The gradient of each product, the sum over the units that have added it, in its place. */
static void ${L}_scatter(const float *delta, float *grad_products)
{
    for (index_t n = 0; n < $products; n++)
        grad_products[n] = 0.0f;
    for (index_t i = 0; i < $out; i++) {
        const uint32_t row = hash_row(i, $seed);
        const float product = delta[i];

        if (product == 0.0f)
            continue;
        for (index_t g = 0; g < $G; g++) {
            const uint32_t hash = hash_column(row, g);

            grad_products[(size_t)g * $T + ${L}_tile(hash)] += $signed_product;
        }
    }
}
//: products_back
/* grad_j = sum_t V's weight of tile t at the place of input j, times the gradient of that product. */
static void ${L}_back(const float *grad_products, float *grad)
{
    for (index_t j = 0; j < $in; j++) {
        const $entry_t entry = $entry;
        const float *const product = grad_products + (size_t)((index_t)(entry >> 1) / $B) * $T;
        const index_t offset = (index_t)(entry >> 1) % $B;
        float sum = 0.0f;

        for (index_t t = 0; t < $T; t++)
            sum += ${L}_weight(${L}_start(t) + offset) * product[t];
        grad[j] = entry & 1u ? -sum : sum;
    }
}
//: products_update
/* The gradient of a weight: over all segments, the gradient of the product times the input. */
static void ${L}_update(const float *$source, const float *grad_products, const float *delta)
{
    for (index_t j = 0; j < $columns; j++) {
        const $entry_t entry = $entry;
        const float *const product = grad_products + (size_t)((index_t)(entry >> 1) / $B) * $T;
        const index_t offset = (index_t)(entry >> 1) % $B;
        const float input_j = $fed;
        const float a = entry & 1u ? -input_j : input_j;

        if (a == 0.0f)
            continue;
        for (index_t t = 0; t < $T; t++)
            ${L}_step(${L}_start(t) + offset, product[t] * a);
    }
    (void)delta; /* unless there are biases beside the weights */
$bias_loop}
//: segment
/* Inputs come segment by segment, at most $ahead at a time: so many weights a unit are found by one hash. */
static value_t ${L}_ahead[$ahead];
static $offset_t ${L}_offset[$ahead];
static uint8_t ${L}_count;
static index_t ${L}_segment;

/* z = bias, before the first input. */
static void ${L}_begin(number_t *z)
{
    ${L}_count = 0;
    for (index_t i = 0; i < $out; i++)
        z[i] = $bias;
}

/* The inputs that are there are added to all units. */
static void ${L}_flush(number_t *z)
{
    for (index_t i = 0; i < $out && ${L}_count > 0; i++) {
        const uint32_t hash = hash_column(hash_row(i, $seed), ${L}_segment);
        const size_t start = ${L}_start(${L}_tile(hash));
        number_t product = 0;

        for (uint8_t n = 0; n < ${L}_count; n++) {
            const index_t k = (index_t)(start + ${L}_offset[n]);

            product += ${L}_weight(k) * ${L}_ahead[n];
        }
        z[i] += $signed_product;
    }
    ${L}_count = 0;
}

/* The input in a place is taken, with the sign of its column. */
static void ${L}_add(number_t *z, index_t place, value_t a)
{
    const index_t segment = place / $B;

    if (a == 0)
        return; /* it adds nothing */
    if (segment != ${L}_segment || ${L}_count == $ahead)
        ${L}_flush(z);
    ${L}_segment = segment;
    ${L}_offset[${L}_count] = ($offset_t)(place % $B);
    ${L}_ahead[${L}_count] = (value_t)($at_place & 1u ? -a : a);
    ${L}_count++;
}
//: unit
/* z_i = sum_j V[i, j] a_j + bias: unit i is made at once, with a hash for each segment. */
static number_t ${L}_unit(const number_t *inputs, index_t i)
{
    const uint32_t row = hash_row(i, $seed);
    number_t z = $bias;

    for (index_t g = 0, place = 0; g < $G; g++) {
        const uint32_t hash = hash_column(row, g);
        const size_t start = ${L}_start(${L}_tile(hash));
        number_t product = 0;

        for (index_t u = 0; u < $B && place < $columns; u++, place++) {
            const $entry_t entry = $at_place;
            const index_t j = (index_t)(entry >> 1);
            const value_t a = $fed_inputs;

            if (a != 0)
                product += ${L}_weight(start + u) * (value_t)(entry & 1u ? -a : a);
        }
        z += $signed_product;
    }
    return $unit;
}
//: back
/* grad_j = sum_i delta_i V[i, j], with a hash for each row and segment. */
static void ${L}_back(const float *delta, float *grad)
{
    for (index_t j = 0; j < $in; j++)
        grad[j] = 0.0f;
    for (index_t i = 0; i < $out; i++) {
        const uint32_t row = hash_row(i, $seed);
        const float product = delta[i];

        if (product == 0.0f)
            continue;
        for (index_t g = 0, place = 0; g < $G; g++) {
            const uint32_t hash = hash_column(row, g);
            const size_t start = ${L}_start(${L}_tile(hash));
            const float signed_delta = $signed_product;

            for (index_t u = 0; u < $B && place < $columns; u++, place++) {
                const $entry_t entry = $at_place;
                const float term = signed_delta * ${L}_weight(start + u);

                if (entry >> 1 < $in) /* else it is the bias's column */
                    grad[entry >> 1] += entry & 1u ? -term : term;
            }
        }
    }
}
//: update
/* The gradient of V[i, j] is delta_i a_j; it goes to the weight's place in the tile that row i drew. */
static void ${L}_update(const float *$source, const float *delta)
{
    for (index_t i = 0; i < $out; i++) {
        const uint32_t row = hash_row(i, $seed);
        const float product = delta[i];

        if (product == 0.0f)
            continue;
        for (index_t g = 0, place = 0; g < $G; g++) {
            const uint32_t hash = hash_column(row, g);
            const size_t start = ${L}_start(${L}_tile(hash));
            const float signed_delta = $signed_product;

            for (index_t u = 0; u < $B && place < $columns; u++, place++) {
                const $entry_t entry = $at_place;
                const index_t j = (index_t)(entry >> 1);
                const float a = $fed;

                if (a != 0.0f)
                    ${L}_step(start + u, entry & 1u ? -signed_delta * a : signed_delta * a);
            }
        }
    }
$bias_loop}
