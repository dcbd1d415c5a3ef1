# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The hashing trick
#
# *Can you squeeze a vector of 784 numbers into 64, remember nothing about which number went where, and
# still compute with it?*
#
# You can, if you are content with inner products that are right on average. The method is called the
# hashing trick, or feature hashing (Weinberger et al., ICML 2009). HashedNets (Chen et al., ICML 2015)
# are this trick applied inside a neural network, so it is worth knowing well before meeting the network.
# This notebook builds it from a hash function, counts its collisions, and measures what they cost.

# %%
import hashlib
import os
import zlib

import matplotlib.pyplot as plt
import numpy as np

import minihash
from minihash import figures
from minihash.hashing import feature_hash, signed_bucket, xxhash32
from minihash.maps import BucketMap

FAST = bool(os.environ.get("MINIHASH_FAST"))
plt.rcParams.update({**figures.STYLE, "figure.dpi": 100, "figure.constrained_layout.use": True})

# %% [markdown]
# ## A dictionary that nobody stores
#
# Suppose you want to compare sentences by the words they share. The textbook way numbers all words of
# the language in a dictionary and counts each sentence's words in a vector as long as the dictionary.
# Both are long, and the dictionary must be kept for ever.
#
# A hash function replaces the dictionary. It takes a word to a number that looks random but is the same
# each time. That number tells us two things: a *bucket* $h$ between $0$ and $m - 1$, and a *sign* $\xi$,
# which is $+1$ or $-1$. Why a sign? We will measure that. First see it at work.
#
# minihash hashes pairs of integers $(i, j)$; later, $i$ will be an output unit of a layer and $j$ an
# input unit. A single vector needs no $i$, so we leave it at 0, and for $j$ we take a checksum of the
# word's letters. `columns` says how many $j$ there may be; nothing of that length is made.

# %%
trick = BucketMap(num_buckets=16, seed=5, columns=2**32 - 1)

for word in ("the", "cat", "sat", "mat"):
    j = zlib.crc32(word.encode())
    bucket, sign = trick(0, j)
    print(f"{word:4}  j = {j:10}  bucket {bucket.item():2}  sign {sign.item():+d}")

# %% [markdown]
# To hash a sentence, add the sign of each word to the word's bucket. In general, for a vector $x$ with
# entries $x_j$,
#
# $$ [\varphi(x)]_k = \sum_{j:\, h(j) = k} \xi(j)\, x_j , \qquad k = 0, \dots, m - 1 . $$
#
# That is all there is to the method. In code it is a loop of two lines.


# %%
def hash_sentence(sentence):
    hashed = np.zeros(trick.num_buckets)
    for word in sentence.split():
        bucket, sign = trick(0, zlib.crc32(word.encode()))
        hashed[bucket] += sign
    return hashed


mat = hash_sentence("the cat sat on the mat")
hat = hash_sentence("the cat sat on the hat")
stocks = hash_sentence("stocks fell early in trading")

print(mat.astype(int))
print("mat and hat:   ", mat @ hat)
print("mat and stocks:", mat @ stocks)

# %% [markdown]
# The two sentences about a cat share *the* (twice in both, which counts 2 · 2), *cat*, *sat* and *on*:
# their true inner product is 7. The sentence about stocks has no word in common with them, so that its
# true product is 0; the −1 comes from a *collision*, two different words in one bucket. The hashed
# products need not be exact, and this seed is a good one: others give 7 ± 2 and 0 ± 1.6 (mean and
# standard deviation). But they tell like from unlike with sixteen numbers and no dictionary.

# %%
assert mat @ hat == 7 and mat @ stocks == -1

# %% [markdown]
# ## Collisions are certain
#
# Sixteen buckets and a few words: two of them will meet. When $d$ features fall into $m$ buckets
# independently, a given bucket is missed by all of them with probability $(1 - 1/m)^d$, so the expected
# number of empty ones is $m (1 - 1/m)^d$. And each of the $d(d - 1)/2$ pairs of features meets with
# probability $1/m$.
#
# Let us count, for 784 features (the pixels of a 28 × 28 image, our example from here on) in 64 buckets.
# The mean over many seeds stands beside the formula.

# %%
d, m, num_seeds = 784, 64, 2_000 if FAST else 10_000
seeds = np.arange(num_seeds)
hashes = xxhash32(0, np.arange(d), seeds[:, None])  # (seeds, d): every row is another hash function
buckets, signs = signed_bucket(hashes, m, signed=True)

rows = m * seeds[:, None]
counts = np.bincount((rows + buckets).ravel(), minlength=m * num_seeds).reshape(num_seeds, m)
pairs = (counts * (counts - 1) / 2).sum(axis=1)
print(f"pairs of pixels that meet: {pairs.mean():.1f} measured, {d * (d - 1) / 2 / m:.1f} expected")

few = np.bincount((rows + buckets)[:, :100].ravel(), minlength=m * num_seeds).reshape(num_seeds, m)
empty = (few == 0).sum(axis=1)
print(f"buckets that 100 pixels leave empty: {empty.mean():.2f}, {m * (1 - 1 / m) ** 100:.2f} expected")

assert abs(pairs.mean() / (d * (d - 1) / 2 / m) - 1) < 0.005
assert abs(empty.mean() - m * (1 - 1 / m) ** 100) < 0.2

# %% [markdown]
# So each pixel shares its bucket with about twelve others. Collisions are not a rare accident to be
# handled; they are how 784 numbers fit into 64. The question is what they do to the products.
#
# ## What the sign is for
#
# Take two vectors $x$ and $y$, hash both with the same function, and multiply. Terms of the same feature
# carry the sign $\xi(j)^2 = 1$, and the others are there only where features collide:
#
# $$ \varphi(x) \cdot \varphi(y) \;=\; \underbrace{\sum_j x_j y_j}_{x \cdot y} \;+\;
#    \sum_{i \ne j} \xi(i)\, \xi(j)\, [h(i) = h(j)]\; x_i y_j . $$
#
# For $i \ne j$ the product of signs is $+1$ as often as $-1$, so the mean of the second sum over hash
# functions is 0: **the estimate is unbiased**, $\mathrm{E}[\varphi(x) \cdot \varphi(y)] = x \cdot y$.
# Without signs each pair stays, with probability $1/m$:
#
# $$ \mathrm{E}_{\text{unsigned}} = x \cdot y + \frac{1}{m} \Big( \sum_j x_j \sum_j y_j - x \cdot y \Big) . $$
#
# Two handwritten digits, which come with the package, serve as $x$ and $y$. Pixels are never negative,
# so that the bias of the unsigned hash is large: it is almost the product of the two sums of ink, over
# $m$.

# %%
digits = minihash.datasets.load("mnist-small")
images, labels = digits.train
x = images[labels == 3][0] / 255
y = images[labels == 8][0] / 255

fig, axes = plt.subplots(1, 3, figsize=(7, 2.3), width_ratios=(1, 1, 2.4))
for ax, image, name in zip(axes, (x, y), ("x", "y")):
    ax.imshow(image.reshape(28, 28), cmap=figures.SHADES)
    ax.set_axis_off()
    ax.set_title(f"${name}$, 784 pixels")
hashed_x = feature_hash(x[None], BucketMap(m, seed=0, columns=784), 0)[0]
axes[2].bar(range(m), hashed_x, color=figures.COLORS[0])
axes[2].set(xlabel="bucket", title=r"$\varphi(x)$, 64 numbers")
plt.show()

# %% [markdown]
# On the right is the three after hashing: 64 numbers of either sign, in which no eye finds a three. The
# function that made it, `feature_hash`, is the formula above. Now hash both digits with each of the hash
# functions, once with signs and once without, and compare the products with the true one.


# %%
def products(x, y, m, hashes, signed):
    """Return φ(x) · φ(y) for each hash function, a row of `hashes`."""
    buckets, signs = signed_bucket(hashes, m, signed)
    places = np.arange(len(hashes))[:, None] * m + buckets
    phi_x = np.bincount(places.ravel(), (signs * x).ravel(), len(hashes) * m)
    phi_y = np.bincount(places.ravel(), (signs * y).ravel(), len(hashes) * m)
    return (phi_x * phi_y).reshape(-1, m).sum(axis=1)


signed = products(x, y, m, hashes, signed=True)
unsigned = products(x, y, m, hashes, signed=False)
truth = x @ y
expected_unsigned = truth + (x.sum() * y.sum() - truth) / m

print(f"true product     {truth:7.2f}")
print(f"signed, mean     {signed.mean():7.2f}")
print(f"unsigned, mean   {unsigned.mean():7.2f}   expected {expected_unsigned:.2f}")

# %% [markdown]
# The mean of many estimates is itself uncertain, by the standard deviation over the square root of their
# number. Both means are where they should be within four such errors, and the unsigned one is nowhere
# near the truth.

# %%
error_of_mean = signed.std() / np.sqrt(num_seeds)
assert abs(signed.mean() - truth) < 4 * error_of_mean
assert abs(unsigned.mean() - expected_unsigned) < 4 * unsigned.std() / np.sqrt(num_seeds)
assert unsigned.min() > truth  # not one of the hash functions gets there without signs

# %% [markdown]
# ## How far off is a single estimate?
#
# Right on average is little comfort if each estimate is wild. The variance has a formula too. It is the
# mean square of the second sum above. Of the products of two pairs, $(i, j)$ and $(i', j')$, only those
# survive in which every sign occurs twice, $(i, j) = (i', j')$ or $(i, j) = (j', i')$, and each of them
# is there with probability $1/m$:
#
# $$ \mathrm{Var} = \frac1m \sum_{i \ne j} \big( x_i^2 y_j^2 + x_i y_i\, x_j y_j \big)
#                 = \frac1m \Big( \|x\|^2 \|y\|^2 + (x \cdot y)^2 - 2 \sum_j x_j^2 y_j^2 \Big) . $$
#
# It depends on the norms of the vectors, on how they overlap, and on $m$. The number of features $d$
# does not occur: a vector of a million features is hashed to 64 buckets no worse than one of a thousand,
# if its norm $\|x\|$ is no larger.


# %%
def variance(x, y, m):
    return ((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 @ y**2)) / m


print(f"variance: {signed.var():.1f} measured, {variance(x, y, m):.1f} by the formula")
assert abs(signed.var() / variance(x, y, m) - 1) < (0.15 if FAST else 0.07)

# %%
fig, ax = plt.subplots(figsize=(7, 3))
bins = {"bins": 60, "density": True, "alpha": 0.75}
ax.hist(signed, **bins, color=figures.COLORS[0])
ax.hist(unsigned, **bins, color=figures.COLORS[4])
ax.text(signed.mean() + 25, 0.02, "signed", color=figures.COLORS[0])
ax.text(unsigned.mean() - 25, 0.02, "unsigned", color=figures.COLORS[1], ha="right")
spread = np.sqrt(variance(x, y, m))
grid = np.linspace(truth - 4 * spread, truth + 4 * spread, 200)
normal = np.exp(-(((grid - truth) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
ax.plot(grid, normal, color="black", linestyle="--")
ax.axvline(truth, color="black", linewidth=2)
ax.axvline(expected_unsigned, color="black", linewidth=2, linestyle=":")
ax.text(truth + 4, 0.045, "true product")
ax.text(expected_unsigned - 4, 0.045, "true product + bias", ha="right")
ax.set(xlabel=r"$\varphi(x) \cdot \varphi(y)$", ylabel="density", ylim=(0, 0.048))
plt.show()

# %% [markdown]
# See how the signed estimates (left) lie around the true product, as wide as the formula says, while the
# unsigned ones (right) form a similar heap in the wrong place, which is where the formula put it. The
# dashed curve is a normal density and was not fitted: its centre is $x \cdot y$, its width comes from
# the variance formula. The histogram leans a little to one side of it; the formulas speak of mean and
# variance, not of the shape.
#
# ## More buckets
#
# The standard deviation falls as $1/\sqrt m$: four times the buckets, half the error. The bias of the
# unsigned hash falls as $1/m$, which is faster, but it starts from so far away that signs win at every
# size in the next figure.

# %%
sizes = np.array([16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
some = hashes[:1_000]
errors = {True: [], False: []}  # with and without signs
for size in sizes:
    for with_sign in errors:
        estimates = products(x, y, size, some, with_sign)
        errors[with_sign].append(np.sqrt(np.mean((estimates - truth) ** 2)))

bias = (x.sum() * y.sum() - truth) / sizes
fig, ax = plt.subplots(figsize=(7, 3))
ax.loglog(sizes, errors[True], "o", color=figures.COLORS[0], label="signed, measured")
ax.loglog(sizes, np.sqrt(variance(x, y, sizes)), color=figures.COLORS[0], label="square root of the variance")
ax.loglog(sizes, errors[False], "s", color=figures.COLORS[1], label="unsigned, measured")
ax.loglog(sizes, bias, "--", color=figures.COLORS[1], label="bias alone")
ax.set(xlabel="buckets $m$", ylabel="root-mean-square error")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend()
plt.show()

ratios = np.array(errors[True]) / np.sqrt(variance(x, y, sizes))
assert np.all(np.abs(ratios - 1) < 0.15)
assert np.all(np.array(errors[False]) > errors[True])

# %% [markdown]
# See that the round points lie on the solid line, which has no free parameter, and that the square ones
# follow the dashed line of the bias: up to about 512 buckets nearly all of the error without signs is
# bias. At 4096 buckets, where few pixels still collide, signs only halve the error.
#
# ## The same trick inside a layer
#
# Now a neural network. A dense layer computes $z_i = \sum_j V_{ij} a_j$ from its inputs $a$ (Chen et al.,
# eq. 2; the other equation numbers are of that paper too). In a hashed layer the matrix $V$ is *virtual*:
# its entries are looked up in a short vector $w$ of $K$ weights, by a hash of their position, with a sign
# (eq. 7),
#
# $$ V_{ij} = \xi(i, j)\, w_{h(i, j)} . $$
#
# Put this into the sum and collect the inputs that meet the same weight:
#
# $$ z_i = \sum_j \xi(i, j)\, w_{h(i, j)}\, a_j = \sum_k w_k \sum_{j:\, h(i, j) = k} \xi(i, j)\, a_j
#        = w \cdot \varphi_i(a) . $$
#
# The inner sum is feature hashing (eq. 5, here with the sign of eq. 7), and the last form is eq. 6. So
# there are two ways to see one layer: its *weights* are shared through a hash, or its *inputs* are
# hashed, anew for each output unit $i$, and all units use the same $w$. Let us hold the layer to it, one
# without a bias, `bias="none"`.

# %%
layer = minihash.HashedLinear(784, 200, num_buckets=64, seed=1, bias="none", dtype=np.float64)
z = layer.forward(x[None])[0]

for i in range(200):
    phi_i = feature_hash(x[None], layer.bucket_map, i)[0]  # 64 numbers
    assert np.isclose(z[i], layer.weight @ phi_i)

# %% [markdown]
# In the layer, a unit's hashed inputs are multiplied with weights that are *learned*, and learned
# knowing the collisions. Hence the sign matters less than in the figure above: a bias that is always the
# same can be trained away. (In [minihash's results](../docs/results.md) a network 784-1000-10 that
# stores one weight for 64 virtual ones errs on 2.47 % of MNIST's test digits without signs and on 2.40 %
# with them, with one seed each: no difference that a single seed could show.)
#
# There is one more thing that a layer has and a single hash has not: every unit hashes in its own way.
# So a collision that confuses one unit does not confuse the next. To see the effect, average the
# estimates $\varphi_i(x) \cdot \varphi_i(y)$ over the units. If they are independent, the error falls
# with the square root of the number of units, as if the *whole layer* were one hash with many more
# buckets.

# %%
of_units = products(x, y, 64, xxhash32(np.arange(20_000)[:, None], np.arange(784), 1), signed=True)
numbers = np.array([1, 4, 16, 64, 256])
spreads = [of_units[: len(of_units) // n * n].reshape(-1, n).mean(axis=1).std() for n in numbers]
predicted = np.sqrt(variance(x, y, 64) / numbers)

for n, measured, formula in zip(numbers, spreads, predicted):
    print(f"mean over {n:3} units: standard deviation {measured:6.3f}, predicted {formula:6.3f}")
assert np.all(np.abs(spreads / predicted - 1) < 0.25)

# %% [markdown]
# No figure is needed: the two columns agree. What one unit's collisions blur, two hundred other units
# see through hashes of their own, though all of them draw on the same 64 weights. What the virtual
# matrix of such a layer looks like is the subject of the next notebook.
#
# ## Exercises
#
# Each has a check. Replace `None` by your answer and run the cell.

# %%
DIGESTS = {1: "a46c270f", 2: "f1a8fe13", 3: "7cd38ffd"}
TRIALS = {}


def check(number, answer):
    """Say whether an answer is right: a number is compared as a digest, a function is tried."""
    if answer is None:
        print(f"exercise {number}: no answer yet")
        return
    if number in TRIALS:
        right = TRIALS[number](answer)
    else:
        digest = hashlib.sha256(f"hashing trick {number}: {float(answer):.6g}".encode()).hexdigest()
        right = digest.startswith(DIGESTS[number])
    print(f"exercise {number}:", "right" if right else "not yet")


# %% [markdown]
# **1.** You hash 1,000 features into 500 buckets. How many buckets do you expect to stay empty, to the
# nearest whole number?

# %%
check(1, None)

# %% [markdown]
# **2.** Two vectors of norm 1 are orthogonal, and no feature is in both. How many buckets make the
# standard deviation of the estimated product 0.01?

# %%
check(2, None)

# %% [markdown]
# **3.** You have room for $2m$ numbers a vector. You may use one hash with $2m$ buckets, or two
# independent hashes with $m$ each and average their two estimates. Divide the variance of the second way
# by that of the first. What is it?

# %%
check(3, None)

# %% [markdown]
# **4.** Features arrive one at a time, as pairs of $j$ and a change of $x_j$, and the same $j$ may come
# again. Write `sketch(updates, bucket_map)` that returns $\varphi(x)$ at the end, for output unit 0,
# without ever making $x$.


# %%
def try_sketch(sketch):
    rng = np.random.default_rng(4)
    features, changes = rng.integers(0, 784, 2_000), rng.integers(-3, 4, 2_000)
    total = np.bincount(features, changes, 784)
    wanted = feature_hash(total[None], BucketMap(32, seed=9, columns=784), 0)[0]
    found = sketch(zip(features.tolist(), changes.tolist()), BucketMap(32, seed=9, columns=784))
    return np.shape(found) == wanted.shape and np.allclose(found, wanted)


TRIALS[4] = try_sketch
check(4, None)
