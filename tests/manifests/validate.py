"""Checks the Kubernetes objects on standard input against the newest and the oldest schema that kubernetes-validate has.

Fields that the schema does not know are errors, and so are kinds. Prints a line for each object that passes.
"""
import sys

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

failed = False
for document in filter(None, yaml.safe_load_all(sys.stdin)):
    name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
    for version in (all_versions()[-1], all_versions()[0]):
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            failed = True
            field = ".".join(str(step) for step in getattr(error, "path", ()))
            print(f"{name}: {field}: {getattr(error, 'message', error)} (Kubernetes {version})", file=sys.stderr)
        else:
            print(f"{name} {version}")
sys.exit(failed)
