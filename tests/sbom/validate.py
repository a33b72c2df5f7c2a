#!/usr/bin/env python3
"""Validates a document against a schema, without a network: validate.py SCHEMAS SCHEMA FILE"""
import json
import os
import sys
import warnings

warnings.simplefilter("ignore")
import jsonschema

folder, name, file = sys.argv[1:]
schemas = {}
for each in os.listdir(folder):
    with open(os.path.join(folder, each), encoding="utf-8") as f:
        schemas[each] = json.load(f)
schema = schemas[name]
store = {s["$id"]: s for s in schemas.values() if "$id" in s}
resolver = jsonschema.RefResolver.from_schema(schema, store=store)
with open(file, encoding="utf-8") as f:
    document = json.load(f)
errors = list(jsonschema.Draft7Validator(schema, resolver=resolver).iter_errors(document))
for error in errors[:10]:
    print("/".join(map(str, error.absolute_path)), error.message[:300])
sys.exit(bool(errors))
