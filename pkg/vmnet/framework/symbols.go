package framework

// A Symbol is a name that the driver looks up in the system's libraries.
type Symbol struct {
	Name string
	// Since is the first macOS whose libraries have it.
	Since string
	// Required symbols are on every macOS this driver can run on; New fails
	// without them. Without another one, the feature it belongs to is unsupported.
	Required bool
	// Variable symbols are `const char *` variables whose value is a dictionary
	// key; of all others the address is what is used.
	Variable bool
	// Library is where macOS has it: "vmnet", "System" or "CoreFoundation".
	Library string
}

// Symbols returns every symbol that the driver looks up, in the order in which
// it does, the same on every OS.
func Symbols() []Symbol {
	table := new(api).table()
	list := make([]Symbol, len(table))
	for i := range table {
		list[i] = table[i].Symbol
	}
	return list
}

// A key is a dictionary key of the framework: the address of its C string, or
// none when this macOS does not have it.
type key struct {
	addr   uintptr
	symbol *Symbol
}

// api is the address of everything the driver uses. Zero means not there.
type api struct {
	startInterface, setEventCallback, read, write, stopInterface    uintptr
	addRule, removeRule, getRules, ruleDetails                      uintptr
	addIPRule, removeIPRule, getIPRules, ipRuleDetails              uintptr
	copyInterfaces                                                  uintptr
	cfgCreate, cfgNoDHCP, cfgNoDNS, cfgNoNAT44, cfgNoNAT66, cfgNoRA uintptr
	cfgUplink, cfgSubnet, cfgPrefix, cfgMTU, cfgReserve, cfgForward uintptr
	netCreate, netJoin, netSerialize, netSubnet, netPrefix          uintptr
	startWithNetwork                                                uintptr

	keyMode, keyUplink, keyMAC, keyAllocateMAC, keyID, keyMTU, keyMaxPacket key
	keyStart, keyEnd, keyMask, keyNAT66, keyNAT66Len                        key
	keyNetID, keyHostIP, keyHostMask, keyHostIP6                            key
	keyTSO, keyIsolation, keyChecksum, keyReadMax, keyWriteMax, keyVirtio   key

	dictCreate, dictSetUint64, dictSetBool, dictSetString, dictSetUUID, dictSetData uintptr
	dictGetUint64, dictGetString, dictGetUUID, dictGetData                          uintptr
	arrayCount, arrayString, arrayValue, xpcRelease                                 uintptr

	queueCreate, dispatchRelease, asyncF, syncF, stackBlock, cfRelease uintptr
}

// An entry is a symbol and where its address goes.
type entry struct {
	Symbol
	addr *uintptr // of a function or object
	key  *key     // of a variable
}

// Where macOS has a symbol, and since when. Sources: vmnet.h of the macOS 11 SDK
// for what is not newer, Apple's documentation of each symbol for the rest.
const (
	inVmnet  = "vmnet"
	inSystem = "System"
	inCF     = "CoreFoundation"
)

func need(name string, addr *uintptr) entry {
	return entry{Symbol: Symbol{Name: name, Since: "10.10", Required: true, Library: inVmnet}, addr: addr}
}

func since(version, name string, addr *uintptr) entry {
	return entry{Symbol: Symbol{Name: name, Since: version, Library: inVmnet}, addr: addr}
}

func variable(version, name string, k *key) entry {
	s := Symbol{Name: name, Since: version, Required: version == "10.10", Variable: true, Library: inVmnet}
	return entry{Symbol: s, key: k}
}

func system(name string, addr *uintptr) entry {
	return entry{Symbol: Symbol{Name: name, Since: "10.10", Required: true, Library: inSystem}, addr: addr}
}

func systemOptional(name string, addr *uintptr) entry {
	return entry{Symbol: Symbol{Name: name, Since: "10.10", Library: inSystem}, addr: addr}
}

// table ties every symbol to its field of a. It is the only place where names of
// C symbols are spelled.
func (a *api) table() []entry {
	t := a.interfaceTable()
	t = append(t, a.networkTable()...)
	t = append(t, a.keyTable()...)
	return append(t, a.systemTable()...)
}

func (a *api) interfaceTable() []entry {
	return []entry{
		need("vmnet_start_interface", &a.startInterface),
		need("vmnet_interface_set_event_callback", &a.setEventCallback),
		need("vmnet_read", &a.read),
		need("vmnet_write", &a.write),
		need("vmnet_stop_interface", &a.stopInterface),
		since("10.15", "vmnet_copy_shared_interface_list", &a.copyInterfaces),
		// Deprecated in 12.0 for the "ip" family, which 11.0 brought.
		since("10.15", "vmnet_interface_add_port_forwarding_rule", &a.addRule),
		since("10.15", "vmnet_interface_remove_port_forwarding_rule", &a.removeRule),
		since("10.15", "vmnet_interface_get_port_forwarding_rules", &a.getRules),
		since("10.15", "vmnet_port_forwarding_rule_get_details", &a.ruleDetails),
		since("11.0", "vmnet_interface_add_ip_port_forwarding_rule", &a.addIPRule),
		since("11.0", "vmnet_interface_remove_ip_port_forwarding_rule", &a.removeIPRule),
		since("11.0", "vmnet_interface_get_ip_port_forwarding_rules", &a.getIPRules),
		since("11.0", "vmnet_ip_port_forwarding_rule_get_details", &a.ipRuleDetails),
	}
}

func (a *api) networkTable() []entry {
	const v = "26.0"
	return []entry{
		since(v, "vmnet_network_configuration_create", &a.cfgCreate),
		since(v, "vmnet_network_configuration_disable_dhcp", &a.cfgNoDHCP),
		since(v, "vmnet_network_configuration_disable_dns_proxy", &a.cfgNoDNS),
		since(v, "vmnet_network_configuration_disable_nat44", &a.cfgNoNAT44),
		since(v, "vmnet_network_configuration_disable_nat66", &a.cfgNoNAT66),
		since(v, "vmnet_network_configuration_disable_router_advertisement", &a.cfgNoRA),
		since(v, "vmnet_network_configuration_set_external_interface", &a.cfgUplink),
		since(v, "vmnet_network_configuration_set_ipv4_subnet", &a.cfgSubnet),
		since(v, "vmnet_network_configuration_set_ipv6_prefix", &a.cfgPrefix),
		since(v, "vmnet_network_configuration_set_mtu", &a.cfgMTU),
		since(v, "vmnet_network_configuration_add_dhcp_reservation", &a.cfgReserve),
		since(v, "vmnet_network_configuration_add_port_forwarding_rule", &a.cfgForward),
		since(v, "vmnet_network_create", &a.netCreate),
		since(v, "vmnet_network_create_with_serialization", &a.netJoin),
		since(v, "vmnet_network_copy_serialization", &a.netSerialize),
		since(v, "vmnet_network_get_ipv4_subnet", &a.netSubnet),
		since(v, "vmnet_network_get_ipv6_prefix", &a.netPrefix),
		since(v, "vmnet_interface_start_with_network", &a.startWithNetwork),
	}
}

func (a *api) keyTable() []entry {
	return []entry{
		variable("10.10", "vmnet_operation_mode_key", &a.keyMode),
		variable("10.10", "vmnet_mac_address_key", &a.keyMAC),
		variable("10.10", "vmnet_interface_id_key", &a.keyID),
		variable("10.10", "vmnet_mtu_key", &a.keyMTU),
		variable("10.10", "vmnet_max_packet_size_key", &a.keyMaxPacket),
		variable("10.15", "vmnet_shared_interface_name_key", &a.keyUplink),
		variable("10.15", "vmnet_allocate_mac_address_key", &a.keyAllocateMAC),
		variable("10.15", "vmnet_start_address_key", &a.keyStart),
		variable("10.15", "vmnet_end_address_key", &a.keyEnd),
		variable("10.15", "vmnet_subnet_mask_key", &a.keyMask),
		variable("10.15", "vmnet_nat66_prefix_key", &a.keyNAT66),
		variable("10.15", "vmnet_nat66_prefix_length_key", &a.keyNAT66Len), // until 11.0
		variable("11.0", "vmnet_network_identifier_key", &a.keyNetID),
		variable("11.0", "vmnet_host_ip_address_key", &a.keyHostIP),
		variable("11.0", "vmnet_host_subnet_mask_key", &a.keyHostMask),
		variable("11.0", "vmnet_host_ipv6_address_key", &a.keyHostIP6),
		variable("11.0", "vmnet_enable_tso_key", &a.keyTSO),
		variable("11.0", "vmnet_enable_isolation_key", &a.keyIsolation),
		variable("12.0", "vmnet_enable_checksum_offload_key", &a.keyChecksum),
		variable("15.0", "vmnet_read_max_packets_key", &a.keyReadMax),
		variable("15.0", "vmnet_write_max_packets_key", &a.keyWriteMax),
		variable("15.4", "vmnet_enable_virtio_header_key", &a.keyVirtio),
	}
}

func (a *api) systemTable() []entry {
	return []entry{
		system("xpc_dictionary_create", &a.dictCreate),
		system("xpc_dictionary_set_uint64", &a.dictSetUint64),
		system("xpc_dictionary_set_bool", &a.dictSetBool),
		system("xpc_dictionary_set_string", &a.dictSetString),
		system("xpc_dictionary_set_uuid", &a.dictSetUUID),
		system("xpc_dictionary_get_uint64", &a.dictGetUint64),
		system("xpc_dictionary_get_string", &a.dictGetString),
		system("xpc_dictionary_get_uuid", &a.dictGetUUID),
		system("xpc_array_get_count", &a.arrayCount),
		system("xpc_array_get_string", &a.arrayString),
		system("xpc_array_get_value", &a.arrayValue),
		system("xpc_release", &a.xpcRelease),
		// The data of a serialized network.
		systemOptional("xpc_dictionary_set_data", &a.dictSetData),
		systemOptional("xpc_dictionary_get_data", &a.dictGetData),
		system("dispatch_queue_create", &a.queueCreate),
		system("dispatch_release", &a.dispatchRelease),
		system("dispatch_async_f", &a.asyncF),
		system("dispatch_sync_f", &a.syncF),
		system("_NSConcreteStackBlock", &a.stackBlock),
		{Symbol: Symbol{Name: "CFRelease", Since: "10.10", Library: inCF}, addr: &a.cfRelease},
	}
}
