"""Sensors of checkpoints and bundles are taught; what the models find stays the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trimf
from trimf.cli import main
from trimf.export.taught_bundle import teach_bundle
from trimf.runtime.bundle.manifest import EFFECTS_FILE, SCHEMA_VERSION
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.decoding.span_decoding import DecodedSentence
from trimf.runtime.errors import BundleError, DataError, InputError
from trimf.runtime.pipeline import ParsedSentence
from trimf.runtime.pipeline_loading import read_effects
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import load_checkpoint
from trimf_train.training.temperature_scaling import calibrate_folder
from trimf_train.triggers.taught_models import describe_sensor, teach_checkpoint

from ...export.test_export import OUTPUTS  # noqa: F401
