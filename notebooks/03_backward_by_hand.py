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
# # Backward by hand
#
# *If one stored number is used at 64 places of a weight matrix, what is its gradient?*
#
# The sum of the 64 gradients, each with its sign: that is all, and it is the paper's equation 12 (Chen
# et al., ICML 2015). But it is worth doing once by hand. In this notebook we take a layer of two outputs
# and three inputs through the backward pass with pencil and paper, then write the same in loops, then in
# the form in which it is computed without ever making the matrix, and last ask the layer of the package.
# All four must give the same numbers, and not only nearly: everything will be small integers, which
# floating point adds without rounding.
#
# Equation numbers are that paper's. A superscript $\ell$ marks what belongs to the layer below, whose
# output $a$ is the input here; $z$ and $\delta$ without one are this layer's own. Our calculations leave
# out the bias (`bias="none"`); exercise 4 adds it.

# %%
import hashlib
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import minihash
from minihash import figures
from minihash.gradient_check import check_gradients
from minihash.hashing import feature_hash
from minihash.kernels import panels
from minihash.kernels.numpy_cpu import aggregate, expand, locate
from minihash.maps import BucketMap

plt.rcParams.update({**figures.STYLE, "figure.dpi": 100, "figure.constrained_layout.use": True})

# %% [markdown]
# ## With pencil and paper
#
# The layer stores three weights, $w = (1, -2, 3)$, for the six entries of its virtual matrix (eq. 7),
# $V_{ij} = \xi(i, j)\, w_{h(i, j)}$. With this seed the hash says:

# %%
bucket_map = BucketMap(num_buckets=3, seed=863, columns=3)
h, xi = bucket_map(np.arange(2)[:, None], np.arange(3))
print("buckets h:\n", h, "\nsigns xi:\n", xi, sep="")

assert h.tolist() == [[2, 1, 0], [0, 0, 1]]
assert xi.tolist() == [[-1, 1, -1], [-1, 1, -1]]

# %% [markdown]
# Bucket 0 is used three times, bucket 1 twice, bucket 2 once. Looking up the weights gives
#
# $$ V = \begin{pmatrix} -w_2 & w_1 & -w_0 \\ -w_0 & w_0 & -w_1 \end{pmatrix}
#      = \begin{pmatrix} -3 & -2 & -1 \\ -1 & 1 & 2 \end{pmatrix} . $$
#
# **Forward.** The layer below has computed $z^\ell = (2, -2, 3)$ and applied an activation $f$; let it
# be the leaky ReLU that halves negative numbers, so that $a = f(z^\ell) = (2, -1, 3)$. Then (eq. 8,
# without the activation that follows)
#
# $$ z = V a
#      = \begin{pmatrix} -3 \cdot 2 + (-2)(-1) - 1 \cdot 3 \\ -1 \cdot 2 + 1(-1) + 2 \cdot 3 \end{pmatrix}
#      = \begin{pmatrix} -7 \\ 3 \end{pmatrix} . $$
#
# The loss is $L = \frac12 \sum_i (z_i - t_i)^2$ with the target $t = (-9, 4)$, so that
# $L = \frac12 (2^2 + 1^2) = 2.5$. Its gradient with respect to the outputs is the *error term* of this
# layer,
#
# $$ \delta_i = \frac{\partial L}{\partial z_i} = z_i - t_i , \qquad \delta = (2, -1) . $$

# %%
w = np.array([1.0, -2, 3])
a = np.array([2.0, -1, 3])
t = np.array([-9.0, 4])

V = xi * w[h]
z = V @ a
delta = z - t
assert V.tolist() == [[-3, -2, -1], [-1, 1, 2]]
assert z.tolist() == [-7, 3] and delta.tolist() == [2, -1]

# %% [markdown]
# **The error term of the layer below.** In a dense layer it is (eq. 9)
#
# $$ \delta_j^\ell = \Big( \sum_i V_{ij}\, \delta_i \Big) f'(z_j^\ell) , $$
#
# and nothing changes when the weights are shared, except that each is looked up (eq. 10):
#
# $$ \delta_j^\ell = \Big( \sum_i \xi(i, j)\, w_{h(i, j)}\, \delta_i \Big) f'(z_j^\ell) . $$
#
# The sums in brackets are $\partial L / \partial a = V^\top \delta$, which is what a layer hands down;
# the factor $f'$ is the activation's business. Column by column:
#
# $$ \begin{aligned}
#    j = 0:&\quad -3 \cdot 2 + (-1)(-1) = -5 , & f'(2) &= 1 , & \delta_0^\ell &= -5 \\
#    j = 1:&\quad -2 \cdot 2 + 1 \cdot (-1) = -5 , & f'(-2) &= \tfrac12 , & \delta_1^\ell &= -2.5 \\
#    j = 2:&\quad -1 \cdot 2 + 2 \cdot (-1) = -4 , & f'(3) &= 1 , & \delta_2^\ell &= -4
#    \end{aligned} $$

# %%
grad_a = V.T @ delta
slope = np.array([1.0, 0.5, 1.0])
assert grad_a.tolist() == [-5, -5, -4]
assert (grad_a * slope).tolist() == [-5, -2.5, -4]

# %% [markdown]
# **The gradient of the weights** needs two derivatives (eq. 11). The first is the one of every dense
# layer; the second says where a virtual weight comes from:
#
# $$ \frac{\partial L}{\partial V_{ij}} = a_j\, \delta_i , \qquad
#    \frac{\partial V_{ij}}{\partial w_k}
#    = \begin{cases} \xi(i, j) & h(i, j) = k \\ 0 & \text{otherwise.} \end{cases} $$
#
# The first is a table of products, with rows $2 a$ and $-1 a$:
#
# $$ \frac{\partial L}{\partial V} = \begin{pmatrix} 4 & -2 & 6 \\ -2 & 1 & -3 \end{pmatrix} . $$
#
# By the chain rule $w_k$ collects from each place where it is used (eq. 12):
#
# $$ \frac{\partial L}{\partial w_k}
#    = \sum_{i, j} \frac{\partial L}{\partial V_{ij}} \frac{\partial V_{ij}}{\partial w_k}
#    = \sum_{h(i, j) = k} \xi(i, j)\, a_j\, \delta_i . $$
#
# Bucket 0 is used at $(0, 2)$ with sign $-$, at $(1, 0)$ with $-$ and at $(1, 1)$ with $+$; bucket 1 at
# $(0, 1)$ with $+$ and at $(1, 2)$ with $-$; bucket 2 at $(0, 0)$ with $-$. Therefore
#
# $$ \begin{aligned}
#    \partial L / \partial w_0 &= -6 + 2 + 1 = -3 \\
#    \partial L / \partial w_1 &= -2 + 3 = 1 \\
#    \partial L / \partial w_2 &= -4 . \end{aligned} $$

# %%
grad_V = np.outer(delta, a)
by_hand = np.array([-6 + 2 + 1, -2 + 3, -4])
assert grad_V.tolist() == [[4, -2, 6], [-2, 1, -3]]
assert by_hand.tolist() == [-3, 1, -4]

# %%
fills = ("#ffffff", figures.COLORS[5], figures.COLORS[4])  # of buckets 0, 1, 2
fig, axes = plt.subplots(1, 3, figsize=(7, 2.2), width_ratios=(1, 1, 1.5))
for ax, matrix, title in ((axes[0], V, "$V$"), (axes[1], xi * grad_V, r"$\xi\;\partial L/\partial V$")):
    for (i, j), value in np.ndenumerate(matrix):
        ax.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=fills[h[i, j]], edgecolor="black"))
        ax.text(j, i, f"{value:g}", ha="center", va="center")
    ax.set(xlim=(-0.5, 2.5), ylim=(1.5, -0.5), xticks=range(3), yticks=range(2), aspect="equal", title=title)
    ax.set(xlabel="$j$", ylabel="$i$")
    ax.grid(False)
for k in range(3):
    terms = (xi * grad_V)[h == k]
    places = k + (np.arange(len(terms)) - (len(terms) - 1) / 2) * 0.3
    axes[2].bar(places, terms, 0.26, color=fills[k], edgecolor="black")
    for place, term, (i, j) in zip(places, terms, np.argwhere(h == k)):  # the label is across the axis
        side = {"y": 0.3, "va": "bottom"} if term < 0 else {"y": -0.3, "va": "top"}
        axes[2].text(place, s=f"({i}, {j})", ha="center", rotation=90, fontsize=7, **side)
    axes[2].plot(k, terms.sum(), "D", color="black")
axes[2].text(0.12, -3.3, "sum")
axes[2].axhline(0, color="black", linewidth=0.8)
axes[2].set(xlabel="bucket $k$", xticks=range(3), title=r"$\partial L/\partial w_k$")
plt.show()

# %% [markdown]
# See how the cells of one shade, which hold one weight on the left, send their gradients (middle) to one
# bucket on the right, where the bars, labelled with their cells $(i, j)$, are added to the diamond. The
# bars of a bucket may disagree: output 0 would have $w_0$ grow, output 1 would have it shrink. The layer
# cannot please both; it follows the sum.
#
# Is it right? Move one weight a little and watch the loss. $L$ is quadratic in $w$, so a central
# difference has no error, however large the step.


# %%
def loss(w):
    return 0.5 * np.sum((xi * w[h] @ a - t) ** 2)


for k in range(3):
    step = np.eye(3)[k]
    slope_of_loss = (loss(w + step) - loss(w - step)) / 2
    print(f"w_{k}: difference {slope_of_loss:+.1f}, by hand {by_hand[k]:+d}")
    assert slope_of_loss == by_hand[k]

# %% [markdown]
# ## In loops
#
# The three sums, for a batch of rows. The gradients of a batch are added up, so there is one loop more,
# and each line is an equation of the last section.


# %%
def backward_in_loops(w, bucket_map, inputs, grad_outputs):
    grad_inputs, grad_weight = np.zeros_like(inputs), np.zeros_like(w)
    h, xi = bucket_map(np.arange(grad_outputs.shape[1])[:, None], np.arange(inputs.shape[1]))
    for a, delta, grad_a in zip(inputs, grad_outputs, grad_inputs):
        for i in range(len(delta)):
            for j in range(len(a)):
                grad_a[j] += xi[i, j] * w[h[i, j]] * delta[i]  # eq. 10, without f'
                grad_weight[h[i, j]] += xi[i, j] * a[j] * delta[i]  # eqs. 11 and 12
    return grad_inputs, grad_weight


looped = backward_in_loops(w, bucket_map, a[None], delta[None])
assert np.array_equal(looped[0], grad_a[None])
assert np.array_equal(looped[1], by_hand)

# %% [markdown]
# There is a shorter way to the second line. In eq. 6 the layer is $z_i = w \cdot \varphi_i(a)$, with
# $\varphi_i(a)$ the inputs hashed for output $i$ (see [the first notebook](01_hashing_trick.ipynb)).
# Then $\partial z_i / \partial w = \varphi_i(a)$, and
#
# $$ \frac{\partial L}{\partial w} = \sum_i \delta_i\, \varphi_i(a) , $$
#
# which is eq. 12 with the sums in another order.

# %%
hashed = [feature_hash(a[None], bucket_map, i)[0] for i in range(2)]
print("phi_0(a) =", hashed[0], "  phi_1(a) =", hashed[1])
assert np.array_equal(delta[0] * hashed[0] + delta[1] * hashed[1], by_hand)

# %% [markdown]
# ## By panels
#
# Loops in Python are slow. Matrix products are fast, but they want the matrix $V$, and its gradient, in
# memory, and to keep these out of memory is what the layer is for. The way out is to make them in
# pieces. A *panel* is a block of rows of $V$: it is made, multiplied, and forgotten, and the next one
# takes its place.
#
# Three small functions do all that has to do with hashing. `locate` hashes the positions of a block to
# *slots* (a bucket, and the sign in the highest bit; the second notebook wrote the same draw as $s$, in
# which $s \ge K$ is a minus), `expand` looks the weights up, and `aggregate` is eq. 12: it adds a block of
# $\partial L / \partial V$ to its buckets. We take them from `kernels/numpy_cpu.py`, where each is a few
# lines of NumPy. Everything else is products. The *span* that they are told is for the tiles of
# [the second notebook](02_virtual_matrix.ipynb): here a tile is one weight, and a block begins with a tile.


# %%
def backward_by_panels(w, bucket_map, inputs, grad_outputs, height):
    grad_inputs, grad_weight = np.zeros_like(inputs), np.zeros_like(w)
    key, span = bucket_map.key, (1, 0)
    for start in range(0, grad_outputs.shape[1], height):
        delta = grad_outputs[:, start : start + height]
        slots = np.empty((delta.shape[1], inputs.shape[1]), np.uint32)
        panel = np.empty(slots.shape, w.dtype)

        locate(key, (start, 0), slots)
        expand(w, slots, span, panel)  # eq. 7
        grad_inputs += delta @ panel  # eq. 10, without f'
        aggregate(delta.T @ inputs, slots, span, grad_weight)  # eqs. 11 and 12
    return grad_inputs, grad_weight


paneled = backward_by_panels(w, bucket_map, a[None], delta[None], height=1)  # a row at a time
assert np.array_equal(paneled[0], grad_a[None])
assert np.array_equal(paneled[1], by_hand)

# %% [markdown]
# On two rows this is a toy. A layer of 300 inputs and 400 outputs is not; let its weights, inputs and
# error terms again be small integers, so that every order of the sums gives the same bits. How high a
# panel is must not matter.

# %%
rng = np.random.default_rng(3)
big = minihash.HashedLinear(300, 400, compression=1 / 64, bias="none", seed=7)
big.weight[:] = rng.integers(-3, 4, big.num_buckets)
inputs = rng.integers(-2, 3, (32, 300)).astype(np.float32)
grad_outputs = rng.integers(-2, 3, (32, 400)).astype(np.float32)

reference = backward_by_panels(big.weight, big.bucket_map, inputs, grad_outputs, height=400)
for height in (1, 7, 64):
    result = backward_by_panels(big.weight, big.bucket_map, inputs, grad_outputs, height)
    assert all(np.array_equal(*pair) for pair in zip(result, reference))

few = backward_in_loops(big.weight, big.bucket_map, inputs[:2], grad_outputs[:2])
same = backward_by_panels(big.weight, big.bucket_map, inputs[:2], grad_outputs[:2], height=64)
assert all(np.array_equal(*pair) for pair in zip(few, same))

# %% [markdown]
# It does not matter for the numbers; it does for memory. We let Python count the largest number of bytes
# that the function holds at a time, for a layer of 1024 × 1024 and panels of different heights.

# %%
wide = BucketMap(num_buckets=2**14, seed=1, columns=1024)


def held(height, rows):
    """Return the largest number of bytes, without the arguments."""
    arrays = [rng.standard_normal(shape, np.float32) for shape in (2**14, (16, 1024), (16, rows))]
    tracemalloc.start()
    backward_by_panels(arrays[0], wide, *arrays[1:], height)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


heights = (1, 4, 16, 64, 256, 1024)
peaks = [held(height, 1024) for height in heights]

fig, ax = plt.subplots(figsize=(7, 2.8))
ax.loglog(heights, peaks, "o-", color=figures.COLORS[0], label="held at most")
ax.axhline(4 * 1024**2, color="black", linestyle="--", label="$V$, 1024 × 1024 numbers")
ax.axhline(4 * 2**14, color="black", linestyle=":", label="$w$, 16,384 numbers")
ax.set_xticks(heights, heights)
ax.set_yticks([2**16, 2**18, 2**20, 2**22, 2**24], ["64 KiB", "256 KiB", "1 MiB", "4 MiB", "16 MiB"])
ax.minorticks_off()
ax.set(xlabel="rows in a panel", ylabel="memory")
ax.legend()
plt.show()

longer = held(16, 4096)
print(f"panels of 16 rows: {peaks[2] / 1024:.0f} KiB for 1,024 rows, {longer / 1024:.0f} KiB for 4,096")
assert peaks[-1] > 4 * 1024**2 > 10 * peaks[0] and abs(longer / peaks[2] - 1) < 0.01

# %% [markdown]
# See that the memory follows the panel down to about one and a half times what the function returns: the
# gradients of $w$, as long as $w$ itself (dotted), and of the inputs, as long again. With one panel for
# all rows (right) it is more than ten times $V$ (dashed): the panel, its gradient, its slots, and what the
# kernels need on the way. In small panels it is a small fraction of $V$, and it does not grow when the layer
# gets more rows for the same $w$. (At a fixed compression $w$ grows with the rows, and its gradient with it.)
#
# ## The package's panels
#
# `minihash/kernels/panels.py` does the same with more care. Its panels are large enough for fast
# products and small enough for the cache; they go by blocks of columns in the backward pass, so that
# every thread owns its columns of `grad_inputs`; and `locate`, `expand` and `aggregate` are compiled. A
# *part* is a range of columns with what they are multiplied by.

# %%
outputs = np.empty((32, 400), np.float32)
grad_inputs, grad_weight = np.empty_like(inputs), np.empty_like(big.weight)

parts = [panels.Part(0, inputs, grad_inputs)]  # from column 0 on
panels.multiply(parts, big.weight, big.bucket_map, outputs)  # eq. 8
panels.gradients(parts, big.weight, big.bucket_map, grad_outputs, grad_weight)  # eqs. 10 to 12

assert np.array_equal(outputs, inputs @ big.virtual_weight_matrix().T)
assert np.array_equal(grad_inputs, reference[0])
assert np.array_equal(grad_weight, reference[1])
print(f"a panel has at most about {panels.PANEL_SIZE:,} numbers, for a layer of any size")

# %% [markdown]
# ## The layer
#
# And last the layer, which does nothing but call these two. `forward` with `training=True` keeps the
# inputs, `backward` takes $\delta$, returns $\partial L / \partial a$ and leaves the gradient of the
# weights in `grads`.

# %%
layer = minihash.HashedLinear(3, 2, num_buckets=3, bias="none", seed=863, dtype=np.float64)
layer.weight[:] = w

assert np.array_equal(layer.forward(a[None], training=True)[0], z)
assert np.array_equal(layer.backward(delta[None])[0], grad_a)
assert np.array_equal(layer.grads["weight"], by_hand)

assert np.array_equal(big.forward(inputs, training=True), outputs)
assert np.array_equal(big.backward(grad_outputs), reference[0])
assert np.array_equal(big.grads["weight"], reference[1])
print("pencil, loops, panels and the layer:", by_hand, looped[1], paneled[1], layer.grads["weight"])

# %% [markdown]
# All four agree, to the last bit. For layers whose numbers are no integers one compares with differences
# instead, as we did above; the package has a checker that also works out how closely the two must agree.

# %%
real = minihash.HashedLinear(20, 15, compression=1 / 8, seed=5)
report = check_gradients(real, rng.standard_normal((4, 20)))
report.raise_for_errors()
print(report)

# %% [markdown]
# A line is an array in one precision. In float64 the gradient is held against a *complex step*, a
# derivative taken along the imaginary axis, where nothing is subtracted and so no digit is lost; in
# float32 against the *float64 twin*, a copy of the layer in float64. *error/tol.* is the largest error
# over what rounding may do, at most 1 if all is well; *resolution* is the error, relative to a typical
# gradient of the array, that would have been noticed.
#
# A common slip is to divide by the number of places, as if the gradient of a shared weight were the mean
# of its virtual ones. It points in much the same direction and training goes on, only many times too
# slowly; and an optimiser such as Adam, which does not mind the scale of a gradient, hides even that. A
# loss curve does not give the slip away. The differences above do.
#
# ## Exercises
#
# Each has a check. Replace `None` by your answer and run the cell. The first two are for pencil and
# paper.

# %%
DIGESTS = {1: "7db92fec", 2: "699ef108", 3: "d9d765d9"}
TRIALS = {}


def check(number, answer):
    """Say whether an answer is right: a number is compared as a digest, a function is tried."""
    if answer is None:
        print(f"exercise {number}: no answer yet")
        return
    if number in TRIALS:
        right = TRIALS[number](answer)
    else:
        digest = hashlib.sha256(f"backward by hand {number}: {float(answer):.6g}".encode()).hexdigest()
        right = digest.startswith(DIGESTS[number])
    print(f"exercise {number}:", "right" if right else "not yet")


# %% [markdown]
# **1.** In the example by hand, let the target be $t = (-9, 3)$. What is $\partial L / \partial w_0$
# now?

# %%
check(1, None)

# %% [markdown]
# **2.** Let all signs be $+1$, with the same buckets (the paper's eq. 3), and keep $\delta = (2, -1)$.
# What is $\partial L / \partial w_0$?

# %%
check(2, None)

# %% [markdown]
# **3.** Somebody takes the mean over each bucket instead of the sum. How many times smaller (a number
# above 1) is the gradient at $c = 1/64$, averaged over buckets? (Plain gradient descent then is that much
# too slow.)

# %%
check(3, None)

# %% [markdown]
# **4.** With the default `bias="hashed"` the bias of output $i$ is one more entry of the row, $V_{ij}$
# with $j$ = `in_features`, and its input is the constant 1. Write `bias_part(layer, grad_outputs)` that
# returns what the biases contribute to the gradient of `layer.weight`, (num_buckets,), for a batch.


# %%
def try_bias_part(bias_part):
    tried = minihash.HashedLinear(30, 20, num_buckets=12, seed=6, dtype=np.float64)
    delta = np.random.default_rng(0).standard_normal((5, 20))
    tried.forward(np.zeros((5, 30)), training=True)  # with inputs of 0 only the biases have a gradient
    tried.backward(delta)
    found, wanted = bias_part(tried, delta), tried.grads["weight"]
    return np.shape(found) == wanted.shape and np.allclose(found, wanted)


TRIALS[4] = try_bias_part
check(4, None)

# %% [markdown]
# **5.** Write `forward_by_panels(w, bucket_map, inputs, rows, height)` that returns the outputs (batch,
# rows) and makes no more than `height` rows of $V$ at a time. (The check looks at the numbers only.)


# %%
def try_forward(forward_by_panels):
    made = [forward_by_panels(big.weight, big.bucket_map, inputs, 400, height) for height in (1, 64, 400)]
    return all(np.array_equal(each, outputs) for each in made)


TRIALS[5] = try_forward
check(5, None)
