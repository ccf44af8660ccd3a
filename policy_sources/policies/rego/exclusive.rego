# Hosts for certain projects alone, by the metadata of their aggregates: "policy:exclusive" holds one project id or several with
# commas between them. Servers of these projects may be elsewhere too. An aggregate without hosts says nothing.
#
#   openstack aggregate set --property policy:exclusive=8d2f...,77b0... licensed
#     -> {"rule": "exclusive", "hosts": {"id": [...]}, "servers": {"project": [...]}, "origin": "exclusive aggregate licensed (3)"}
package placewright

import rego.v1

rules contains {"rule": "exclusive", "hosts": {"id": hosts}, "servers": {"project": projects}, "origin": origin} if {
	some aggregate in input.cluster.aggregates
	named := aggregate.metadata["policy:exclusive"]
	projects := {project | some text in split(named, ","); project := trim_space(text)}
	hosts := exclusive_hosts[aggregate.id]
	origin := sprintf("exclusive aggregate %s (%s)", [aggregate.name, aggregate.id])
}

# OPA computes this object once, and would compute an entry of exclusive_members anew for each aggregate.
exclusive_hosts := {key: hosts | some key, hosts in exclusive_members}

exclusive_members[key] contains id if {
	some host in input.cluster.hosts
	some key in host.aggregates
	id := host.id
}
