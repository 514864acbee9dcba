"""Client 2.0.0 signs in from a machine without a browser.

Usage: device_login.py BASE_URL; prints where to approve it, and at the end its account.
"""

import sys

from brainstem_api_tools import BrainstemClient

client = BrainstemClient(url=sys.argv[1], headless=True)
response = client.save("group", data={"name": f"Made by {id(client)}"})
response.raise_for_status()
(member,) = response.json()["group"]["users"]
print(f"I am {member}")
