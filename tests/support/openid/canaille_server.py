"""Canaille, an independent OpenID provider, for tests; runs under an interpreter of its own.

    canaille_server.py PORT CONFIGURATION

CONFIGURATION is JSON: ``{"accounts": {name: claims}, "jwks": {"keys": […]}, "password": …}``.
"""

import json
import sys

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from werkzeug.serving import run_simple

port, configuration = int(sys.argv[1]), json.loads(sys.argv[2])
app = create_app(
    config={
        "SECRET_KEY": "a key for tests, long enough to pass for one",
        "SERVER_NAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory", "NAME": "Canaille"},
        "CANAILLE_OIDC": {
            "DYNAMIC_CLIENT_REGISTRATION_OPEN": True,
            "ACTIVE_JWKS": configuration["jwks"]["keys"],
        },
    }
)
with app.app_context():
    for name, claims in configuration["accounts"].items():
        account = models.User(
            user_name=name,
            formatted_name=f"{claims['given_name']} {claims['family_name']}",
            given_name=claims["given_name"],
            family_name=claims["family_name"],
            emails=[claims["email"]],
            password=configuration["password"],
        )
        Backend.instance.save(account)
run_simple("127.0.0.1", port, app, threaded=True)
