"""Client 2.0.0 asks to be let in, as on a machine without a browser. Run by its own interpreter.

Usage: letting_in.py BASE_URL; says where to let it in, and at the end which account it has.
"""

import sys

from brainstem_api_tools import BrainstemClient

client = BrainstemClient(url=sys.argv[1], headless=True)
response = client.save("group", data={"name": f"Made by {id(client)}"})
response.raise_for_status()
(member,) = response.json()["group"]["users"]
print(f"I am {member}")
