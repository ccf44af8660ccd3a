# What the other policies here share; apart, spread and intent need this file.
package placewright.lib

import rego.v1

# Groups [key, [id, ...]] of a set of pairs [key, id]. OPA takes quadratic time to gather many keys in a rule like
# members[key] contains id; to sort is fast in every engine.
grouped(set) := [[key, ids] |
	some n, start in starts
	key := keys[start]
	ids := [pair[1] | some pair in array.slice(pairs, start, ends[n])]
] if {
	pairs := sort(set)
	keys := [pair[0] | some pair in pairs]
	starts := array.concat([0], [n | some n, key in keys; keys[n - 1] != key])
	ends := array.concat(array.slice(starts, 1, count(starts)), [count(pairs)])
}
