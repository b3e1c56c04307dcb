"""Optical flow, and its degree as VBench counts it. torch is imported when an estimator is built or used."""

from .base import LARGE, RATE, Flow, degree, flow_degree
from .raft import Raft

__all__ = ["LARGE", "RATE", "Flow", "Raft", "degree", "flow_degree"]
