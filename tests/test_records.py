"""What nnlib's records promise: nobody changes one that others hold, but those that training goes on with."""

import importlib
import pkgutil
from dataclasses import is_dataclass

import nnlib


def test_a_record_stays_as_it_was_made_but_where_training_goes_on():
    names = [module.name for module in pkgutil.walk_packages(nnlib.__path__, "nnlib.") if "cluster" not in module.name]
    every = [one for name in names for one in vars(importlib.import_module(name)).values() if isinstance(one, type)]
    records = {one for one in every if is_dataclass(one)}
    assert {one.__name__ for one in records if not one.__dataclass_params__.frozen} == {"Run", "StoppingRule"}
    assert len(records) > 10
