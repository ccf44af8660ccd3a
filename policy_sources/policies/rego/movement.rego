# How servers may move, by tag: "placewright:keep" (never), "placewright:advise" (moves are shown, and carried out only when that is asked
# for) and "placewright:no-live-migration" (cold or not at all).
#
#   openstack server set --tag placewright:keep licence-server
#     -> {"rule": "keep", "servers": {"id": [...]}, "origin": "tag placewright:keep"}
package placewright

import rego.v1

rules contains object.union(means, {"servers": {"id": members}, "origin": origin}) if {
	some tag, members in movement_tagged
	means := movement_means[tag]
	origin := sprintf("tag %s", [tag])
}

movement_means := {
	"placewright:keep": {"rule": "keep"},
	"placewright:advise": {"rule": "automation", "level": "advise"},
	"placewright:no-live-migration": {"rule": "no_live_migration"},
}

movement_tagged[tag] contains id if {
	some server in input.cluster.servers
	some tag in server.tags
	movement_means[tag]
	id := server.id
}
