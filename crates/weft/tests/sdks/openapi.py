"""Checks the OpenAPI document of its input, and prints `ok` or what is wrong, as JSON."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

errors = [error.message for error in OpenAPIV31SpecValidator(json.load(sys.stdin)).iter_errors()]
json.dump(errors or "ok", sys.stdout)
