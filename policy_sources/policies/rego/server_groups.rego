# Nova's server groups as rules. The hard policies (affinity, anti-affinity) become rules that must hold, so that a group that is broken now
# is repaired; the soft ones, which Nova only weighs when it places a server, become wishes.
#
#   openstack server group create --policy soft-anti-affinity db
#     -> {"rule": "apart", "servers": {"id": [...]}, "max_per_host": 1, "should": 1, "origin": "server group db (...)"}
package placewright

import rego.v1

rules contains rule if {
	some group in input.cluster.groups
	members := [member | some member in group.members; member in group_servers]
	count(members) > 1
	means := group_means[group.policy]
	room := group_room(group)
	origin := sprintf("server group %s (%s)", [group.name, group.id])
	rule := object.union_n([means, room, {"servers": {"id": members}, "origin": origin}])
}

group_means := {
	"affinity": {"rule": "together"},
	"anti-affinity": {"rule": "apart"},
	"soft-affinity": {"rule": "together", "should": 1},
	"soft-anti-affinity": {"rule": "apart", "should": 1},
}

default group_room(_) := {}

group_room(group) := {"max_per_host": object.get(group, ["rules", "max_server_per_host"], 1)} if {
	group_means[group.policy].rule == "apart"
}

# A group may name servers that have been deleted.
group_servers contains id if {
	some server in input.cluster.servers
	id := server.id
}
