# Hosts to be emptied or closed, by the metadata of their aggregates: "policy:hosts" is "evacuate" (all servers leave, none comes) or
# "quarantine" (none comes). Any other value is told as a fault. An aggregate without hosts says nothing.
#
#   openstack aggregate set --property policy:hosts=evacuate rack-7
#     -> {"rule": "evacuate", "hosts": {"id": [...]}, "origin": "aggregate rack-7 (7)"}
package placewright

import rego.v1

rules contains {"rule": rule, "hosts": {"id": hosts}, "origin": origin} if {
	some aggregate in input.cluster.aggregates
	rule := aggregate.metadata["policy:hosts"]
	hosts := aggregate_hosts[aggregate.id]
	origin := sprintf("aggregate %s (%s)", [aggregate.name, aggregate.id])
}

# OPA computes this object once, and would compute an entry of aggregate_members anew for each aggregate.
aggregate_hosts := {key: hosts | some key, hosts in aggregate_members}

aggregate_members[key] contains id if {
	some host in input.cluster.hosts
	some key in host.aggregates
	id := host.id
}
