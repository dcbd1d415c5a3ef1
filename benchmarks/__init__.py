"""What it takes to compare networks of equal storage, as the paper does."""
