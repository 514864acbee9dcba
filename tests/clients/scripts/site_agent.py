"""What the site agent does in another Waldur: a project with its members.

Usage: site_agent.py BASE_URL STAFF_TOKEN ORGANISATION_UUID USER_UUID; prints {} at the end.
"""

import datetime as dt
import json
import sys
from uuid import UUID, uuid4

from waldur_site_agent_waldur.client import WaldurClient

base, token, organisation, user = sys.argv[1:5]
agent = WaldurClient(f"{base}/api", token, str(uuid4()))
organisation_url = agent.get_customer_url(organisation)
key = "site-a:42"
person = UUID(user)

assert agent.get_version()
assert agent.find_project_by_backend_id(key) is None
made = agent.find_or_create_project(organisation_url, "Survey", key, "Rocks")
again = agent.find_or_create_project(organisation_url, "Survey", key, "Rocks and sand")
assert again["uuid"] == made["uuid"]
assert again["description"] == "Rocks and sand"
project = UUID(made["uuid"])
assert agent.update_project(made["uuid"], is_industry=True)["name"] == "Survey"
assert agent.find_project_by_backend_id(key)["is_industry"] is True

end = dt.date(2999, 1, 2)
agent.set_project_end_date(project, end)
found = agent.get_project_by_backend_id(key)
assert found.end_date == end
assert found.end_date_updated_at is not None
agent.set_project_end_date(project, None)
assert agent.get_project_by_backend_id(key).end_date is None

assert agent.resolve_user_by_field("ada@example.org") == person
assert agent.resolve_user_by_field("ada", "username") == person
assert agent.resolve_user_by_field("nobody@example.org") is None
assert agent.list_project_users(project) == []
agent.add_user_to_project(project, person)
[member] = agent.list_project_users(project)
assert (member.user_uuid, member.role_name) == (person, "PROJECT.ADMIN")
agent.add_user_to_project(project, person)  # refused, which the agent passes over
assert len(agent.list_project_users(project)) == 1
agent.remove_user_from_project(project, person)
assert agent.list_project_users(project) == []
print(json.dumps({}))
