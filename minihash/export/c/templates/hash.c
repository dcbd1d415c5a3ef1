//: hash
/* ---------------------------------------------------------------------------------------------- the hash
 *
 * XXH32 (Yann Collet) of the eight bytes i, j: `hash_row` takes in i, `hash_column` takes in j and mixes.
 */
#define PRIME2 2246822519u
#define PRIME3 3266489917u
#define PRIME4 668265263u
#define PRIME5 374761393u

#ifdef __AVR__ /* h >> n, on a chip that shifts bit by bit, but moves 16 bits at once */
#define SHIFT_RIGHT(h, n) ((h) >> 16 << (16 - (n)) | (uint16_t)(h) >> (n))
#else
#define SHIFT_RIGHT(h, n) ((h) >> (n))
#endif

static uint32_t absorb(uint32_t h, uint32_t word)
{
    h += word * PRIME3;
    h = (h << 16) | (h >> 16); /* a rotation by 17 in two steps, for the same chips */
    h = (h << 1) | (h >> 31);
    return h * PRIME4;
}

static uint32_t hash_row(uint32_t i, uint32_t seed)
{
    return absorb(seed + PRIME5 + 8u, i);
}

static uint32_t hash_column(uint32_t row, uint32_t j)
{
    uint32_t h = absorb(row, j);

    h = (h ^ SHIFT_RIGHT(h, 15)) * PRIME2;
    h = (h ^ SHIFT_RIGHT(h, 13)) * PRIME3;
    return h ^ (h >> 16);
}
//: scale16
/* (hash * n) >> 32, a number below n < 2^16: the halves of the hash one after the other, in 32 bits. */
static index_t scale(uint32_t hash, uint16_t n)
{
    const uint32_t low = (uint32_t)(uint16_t)hash * n;
    const uint32_t high = (uint32_t)(uint16_t)(hash >> 16) * n;

    return (index_t)((high + (low >> 16)) >> 16);
}
//: scale32
/* (hash * n) >> 32, a number below n. */
static index_t scale(uint32_t hash, uint32_t n)
{
    return (index_t)(((uint64_t)hash * n) >> 32);
}
//: unpack
/* Weight k of those that lie two in a byte: the even one in the low half, each plus 8. */
#define UNPACK(pair, k) ((weight_t)(((k) & 1u ? (pair) >> 4 : (pair) & 15) - 8))
