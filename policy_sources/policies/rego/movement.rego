# How servers may move, by tag: "policy:keep" (never), "policy:advise" (moves are shown, and carried out only when that is asked
# for) and "policy:no-live-migration" (cold or not at all).
#
#   openstack server set --tag policy:keep licence-server
#     -> {"rule": "keep", "servers": {"id": [...]}, "origin": "tag policy:keep"}
package placewright

import rego.v1

rules contains object.union(means, {"servers": {"id": members}, "origin": origin}) if {
	some tag, members in movement_tagged
	means := movement_means[tag]
	origin := sprintf("tag %s", [tag])
}

movement_means := {
	"policy:keep": {"rule": "keep"},
	"policy:advise": {"rule": "automation", "level": "advise"},
	"policy:no-live-migration": {"rule": "no_live_migration"},
}

movement_tagged[tag] contains id if {
	some server in input.cluster.servers
	some tag in server.tags
	movement_means[tag]
	id := server.id
}
