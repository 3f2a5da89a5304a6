"""Checks the Kubernetes objects on standard input against each schema that the arguments name.

An argument is `newest` or `oldest`, of those that kubernetes-validate has, or a version such as 1.29.
Fields that the schema does not know are errors, and so are kinds. Prints a line for each object that passes.
"""
import sys

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

known = all_versions()
schemas = [{"newest": known[-1], "oldest": known[0]}.get(schema, schema) for schema in sys.argv[1:]]
failed = False
for document in filter(None, yaml.safe_load_all(sys.stdin)):
    name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
    for version in schemas:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            failed = True
            field = ".".join(str(step) for step in getattr(error, "path", ()))
            print(f"{name}: {field}: {getattr(error, 'message', error)} (Kubernetes {version})", file=sys.stderr)
        else:
            print(f"{name} {version}")
sys.exit(failed)
