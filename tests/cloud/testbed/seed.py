"""Service project, users, roles and endpoints; safe to run again.

usage: seed.py '{"nova compute": "http://...", ...}' PASSWORD
"""

import json
import sys

import openstack

endpoints, password = json.loads(sys.argv[1]), sys.argv[2]
identity = openstack.connect(cloud="testbed").identity
project = identity.find_project("service") or identity.create_project(name="service", domain_id="default")
roles = [identity.find_role(name) or identity.create_role(name=name) for name in ("admin", "service")]
for label, url in endpoints.items():
    name, kind = label.split()
    user = identity.find_user(name) or identity.create_user(
        name=name, password=password, domain_id="default", default_project_id=project.id
    )
    for role in roles:
        identity.assign_project_role_to_user(project, user, role)
    service = next((s for s in identity.services() if s.type == kind), None) or identity.create_service(
        name=name, type=kind
    )
    known = {e.interface for e in identity.endpoints(service_id=service.id)}
    for interface in {"public", "internal"} - known:
        identity.create_endpoint(service_id=service.id, interface=interface, url=url, region_id="RegionOne")
