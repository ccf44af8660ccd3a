# Servers of one project that bear the same name under "policy:spread" in their metadata are in several availability zones: in as
# many as there are servers or zones, or in as many as "policy:spread-over" says. Where servers of one name say different numbers, each
# number is a rule.
#
#   openstack server set --property policy:spread=db --property policy:spread-over=2 db-1          (and db-2, db-3)
#     -> {"rule": "spread", "servers": {"id": [...]}, "across": "zone", "at_least": 2, "origin": "spread db of project ..."}
package placewright

import data.placewright.lib
import rego.v1

rules contains object.union(rule, least) if {
	some [[project, name], members] in lib.grouped(spread_members)
	count(members) > 1
	origin := sprintf("spread %s of project %s", [name, project])
	rule := {"rule": "spread", "servers": {"id": members}, "across": "zone", "origin": origin}
	some least in object.get(spread_least, [[project, name]], [{}])
}

spread_members contains [key, id] if {
	some server in input.cluster.servers
	key := [server.project, server.metadata["policy:spread"]]
	id := server.id
}

spread_least := {key: numbers | some [key, numbers] in lib.grouped(spread_over)}

spread_over contains [key, least] if {
	some server in input.cluster.servers
	key := [server.project, server.metadata["policy:spread"]]
	least := {"at_least": spread_number(server.metadata["policy:spread-over"])}
}

# What is no number stays as it is, so that it is told as a fault and not left out.
spread_number(text) := to_number(text) if regex.match(`^[1-9][0-9]{0,8}$`, text)

spread_number(text) := text if not regex.match(`^[1-9][0-9]{0,8}$`, text)
