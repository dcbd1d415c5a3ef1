"""Hashed networks as estimators of scikit-learn, which need not be installed."""

from minihash.sklearn.classifier import HashedMLPClassifier
from minihash.sklearn.regressor import HashedMLPRegressor

__all__ = ["HashedMLPClassifier", "HashedMLPRegressor"]
