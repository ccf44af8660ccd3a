# What a service needs, in its own words: servers of one project with the same "policy:service" in their metadata are a service, and
# "policy:intent" of any of them, one word or several with commas between them, says what it needs. Any other word is told as a fault.
#
#   survive-host   no host carries two servers of the service
#   survive-zone   its servers are in two zones or more
#   fast-network   its servers should share a zone
#   steady         moves of its servers are shown, and carried out only when that is asked for
#   latency:LEVEL  it is sensitive to that, and so for throughput, availability and cost; LEVEL is low, medium or high
#
#   openstack server set --property policy:service=shop --property policy:intent=survive-host,survive-zone shop-1
#     -> {"rule": "apart", "servers": {"id": [...]}, "origin": "service shop of project ...: survive-host"} and
#        {"rule": "spread", "servers": {"id": [...]}, "across": "zone", "at_least": 2, "origin": "service shop of project ...: survive-zone"}
package placewright

import data.placewright.lib
import rego.v1

rules contains object.union(means, {"servers": {"id": members}, "origin": origin}) if {
	some [key, word] in intent_words
	members := intent_services[key]
	means := intent_rule(word)
	origin := sprintf("service %s of project %s: %s", [key[1], key[0], word])
}

intent_rule(word) := object.get(intent_means, word, {"rule": word}) if not contains(word, ":")

intent_rule(word) := {"rule": "sensitivity", "property": property, "level": level} if {
	contains(word, ":")
	property := split(word, ":")[0]
	level := trim_prefix(word, concat("", [property, ":"]))
}

intent_means := {
	"survive-host": {"rule": "apart"},
	"survive-zone": {"rule": "spread", "across": "zone", "at_least": 2},
	"fast-network": {"rule": "together", "within": "zone", "should": 1},
	"steady": {"rule": "automation", "level": "advise"},
}

intent_services := {key: members | some [key, members] in lib.grouped(intent_members)}

intent_members contains [key, id] if {
	some server in input.cluster.servers
	key := [server.project, server.metadata["policy:service"]]
	id := server.id
}

intent_words contains [key, word] if {
	some server in input.cluster.servers
	key := [server.project, server.metadata["policy:service"]]
	some text in split(server.metadata["policy:intent"], ",")
	word := trim_space(text)
}
