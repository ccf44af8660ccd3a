# Servers of one project that bear the same name under "policy:apart", in their metadata or as a tag, are on hosts of their own.
# The names of different projects have nothing to do with one another.
#
#   openstack server set --property policy:apart=web web-1          (and web-2, web-3)
#   openstack server set --tag policy:apart=web web-1               (the same as a tag)
#     -> {"rule": "apart", "servers": {"id": [...]}, "origin": "apart web of project ..."}
package placewright

import data.placewright.lib
import rego.v1

rules contains {"rule": "apart", "servers": {"id": members}, "origin": origin} if {
	some [[project, name], members] in lib.grouped(apart_members)
	count(members) > 1
	origin := sprintf("apart %s of project %s", [name, project])
}

apart_members contains [key, id] if {
	some server in input.cluster.servers
	key := [server.project, server.metadata["policy:apart"]]
	id := server.id
}

apart_members contains [key, id] if {
	some server in input.cluster.servers
	some tag in server.tags
	startswith(tag, "policy:apart=")
	key := [server.project, trim_prefix(tag, "policy:apart=")]
	id := server.id
}
