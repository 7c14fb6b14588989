package mutant

import "os"

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Faults returns what can be broken: the ID of the check that must notice, with a
// suffix where there are several, and what is wrong.
func Faults() map[string]string {
	return map[string]string{
		"E01": "an unknown command succeeds", "E02": "says what it is on stdout", "E03": "names the first missing variable only",
		"E04": "DEL needs CNI_NETNS", "E05": "STATUS needs CNI_CONTAINERID", "E06": "needs CNI_PATH",
		"E07": "accepts any container ID", "E08": "does not name a bad variable", "E09": "takes another name for the interface",
		"E10": "skips malformed pairs", "E11": "the socket's path has the container ID in it", "E12": "leaves a child that holds stdout",
		"E13": "reserves before it can be undone", "E14": "refuses TRACEPARENT", "E15": "opens CNI_NETNS", "E15-two": "prints a result and an error",

		"I01": "code 7 for what is no JSON", "I02": "code 6 when stdin cannot be read", "I03": "accepts any network name",
		"I04": "code 7 for an unknown version", "I05": "code 7 for a version that is no text", "I06": "takes a missing version for the newest",
		"I07": "refuses keys cni.dev/", "I08": "refuses capabilities it does not know", "I09": "code 7 for an unknown key, without its value",
		"I10": "drops part of dns", "I11": "code 999 for a bad value", "I11-accept": "accepts a bad value", "I11-late": "refuses after it made something",
		"I12": "wants disableCheck",

		"O01": "exits with 0 on errors", "O02": "prints a line before the result", "O02-two": "prints the result twice",
		"O03": "prints on DEL", "O04": "the code is a text", "O04-stderr": "prints errors on stderr only", "O05": "errors without cniVersion",
		"O05-newest": "errors have the newest version", "O06": "a reserved code", "O07": "code 999", "O08": "needs stderr", "O09": "prints errors on stderr only",

		"V01": "no supportedVersions", "V02": "always answers 1.1.0", "V03": "VERSION needs stdin", "V04": "lists a version it has not",
		"V04-gate": "CHECK before 0.4.0", "V05": "lists v1.1.0", "V06": "no version in ips before 1.0.0", "V06-mtu": "mtu before 1.0.0",

		"A01": "labels every result 1.1.0", "A02": "no sandbox", "A02-two": "lists the interface twice", "A03": "a relative socketPath",
		"A03-mac": "a multicast mac", "A03-mtu": "a negative mtu", "A04": "an index that is none", "A04-gateway": "a gateway of another subnet",
		"A05": "accepts a second ADD", "A05-break": "a second ADD breaks the first attachment", "A06": "drops prevResult",
		"A07": "refuses unknown keys in prevResult", "A08": "index 0 behind another plugin", "A09": "no lock", "A10": "one network for a container",
		"A11": "no DEL for the IPAM plugin that failed", "A12": "a refused ADD leaves something", "A12-ipam": "an ADD whose IPAM plugin fails leaves something",
		"A13": "the host's interface has the name of the container's", "A14": "no address", "A15": "the IPAM plugin's dns wins",

		"D01": "a second DEL fails", "D02": "DEL of nothing fails", "D03": "DEL needs the domain", "D03-leak": "DEL without the domain does nothing",
		"D04": "DEL without CNI_NETNS does nothing", "D05": "DEL needs prevResult", "D05-garbage": "DEL reads prevResult",
		"D06": "DEL refuses what is no namespace", "D07": "DEL takes all interfaces of the container", "D07-net": "DEL takes the container out of all networks",
		"D08": "hides the IPAM plugin's error", "D09": "stops at a missing IPAM plugin", "D10": "DEL needs the daemon", "D10-hang": "DEL waits for ever",
		"D11": "says not found", "D12": "panics on garbage",

		"C01": "CHECK needs a minute", "C02": "CHECK without prevResult succeeds", "C03": "does not compare mac", "C03-mtu": "does not compare mtu",
		"C03-address": "does not compare addresses", "C03-name": "does not look for the interface", "C03-socket": "does not look for the socket",
		"C04": "refuses a longer result", "C05": "does not look at the daemon", "C05-reservation": "does not look at the reservation",
		"C05-forward": "does not look at forwarded ports",
		"C06":         "does not execute the IPAM plugin", "C06-ignore": "hides the IPAM plugin's error", "C07": "knows any container", "C08": "CHECK writes",

		"T01": "always ready", "T01-code": "code 7 when not ready", "T02": "ADD needs STATUS", "T03": "does not execute the IPAM plugin",
		"T04": "slow", "T04-write": "STATUS writes", "T05": "ready without addresses",

		"G01": "removes nothing", "G01-all": "removes all", "G02": "does not execute the IPAM plugin", "G03": "stops at the IPAM plugin's error",
		"G04": "an empty list does nothing", "G05": "no list does nothing", "G05-null": "refuses null", "G05-legacy": "does not know the old name",
		"G06": "removes from all networks", "G07": "prints on GC", "G08": "refuses both keys",

		"J01": "executes any path", "J01-path": "looks in PATH", "J02": "drops CNI_ARGS", "J02-other": "drops a variable", "J03": "passes ipam alone",
		"J04": "hides stderr", "J05": "no interface in ips", "J06": "accepts no address", "J06-del": "no DEL after no address", "J07": "no DEL for the IPAM plugin",
		"J07-check": "no CHECK for the IPAM plugin", "J08": "another code", "J09": "stops at the IPAM plugin's error", "J10": "CHECK needs ipam",

		"K01": "keys in lower case only", "K02": "ignores mac", "K02-wrong": "accepts any mac", "K03": "CNI_ARGS win", "K04": "refuses labels",
		"K05": "accepts unknown arguments", "K05-order": "IgnoreUnknown must come first", "K06": "needs runtimeConfig",

		"L01": "DEL refuses the list's result", "L02": "GC does not lock", "L03": "DEL without a result does nothing",
		"L04": "DEL needs a result", "L05": "DEL refuses another configuration",
	}
}
