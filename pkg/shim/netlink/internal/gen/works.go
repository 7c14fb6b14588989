package main

// works lists the functions that are written by hand for macOS, with a note for
// the page where there is something to say. Every other function of upstream
// forwards, is portable there, or is missing off Linux.
var works = map[string]string{
	"LinkByName":               "",
	"LinkByIndex":              "",
	"LinkByAlias":              "aliases as `LinkSetAlias` sets them",
	"LinkList":                 "",
	"LinkAdd":                  "`Bridge` (bridgeN), `Veth` (a pair of fethN), `Vmnet`",
	"LinkDel":                  "the same; other links by SIOCIFDESTROY, where their driver allows it",
	"LinkSetUp":                "",
	"LinkSetDown":              "",
	"LinkSetMTU":               "",
	"LinkSetHardwareAddr":      "",
	"LinkSetMaster":            "the master is a bridge",
	"LinkSetMasterByIndex":     "the master is a bridge",
	"LinkSetNoMaster":          "",
	"LinkSetAlias":             "SIOCSIFDESC, at most 127 bytes",
	"LinkSetARPOn":             "",
	"LinkSetARPOff":            "",
	"AddrAdd":                  "",
	"AddrReplace":              "",
	"AddrDel":                  "",
	"AddrList":                 "",
	"RouteAdd":                 "unicast, blackhole and unreachable routes of the main table, with a gateway or a link",
	"RouteDel":                 "",
	"RouteChange":              "",
	"RouteReplace":             "",
	"RouteGet":                 "",
	"RouteGetWithOptions":      "`OifIndex` and `Oif` only",
	"RouteList":                "",
	"RouteListFiltered":        "",
	"RouteListFilteredIter":    "",
	"NeighAdd":                 "permanent entries",
	"NeighSet":                 "permanent entries",
	"NeighDel":                 "",
	"NeighList":                "",
	"LinkSubscribe":            "PF_ROUTE",
	"LinkSubscribeWithOptions": "PF_ROUTE; no namespace",
	"AddrSubscribe":            "PF_ROUTE",
	"AddrSubscribeWithOptions": "PF_ROUTE; no namespace",
	"RouteSubscribe":           "PF_ROUTE",

	"RouteSubscribeWithOptions": "PF_ROUTE; no namespace",
	"NeighSubscribe":            "PF_ROUTE",
	"NeighSubscribeWithOptions": "PF_ROUTE; no namespace",
	"NewHandle":                 "no socket is kept: methods do what the functions of their names do",
}

// computed lists the functions that need no kernel, but that upstream has on Linux
// alone: off Linux they are written by hand.
var computed = map[string]bool{
	"AdjustSize": true, "AlignToAtm": true, "CalcRtable": true, "ClockFactor": true, "DeserializeRtab": true,
	"GetSocketTimeout": true, "Hz": true, "IsBitSet": true, "NewHtbClass": true, "NewNetem": true, "SerializeRtab": true,
	"SetBits": true, "TickInUsec": true, "Xmitsize": true, "Xmittime": true,
}

// special are names that are written by hand on every system other than Linux.
var special = map[string]bool{
	"Handle": true, "LinkUpdate": true,
	"FAMILY_ALL": true, "FAMILY_V4": true, "FAMILY_V6": true, "FAMILY_MPLS": true,
	"ErrDumpInterrupted": true, "StringToTuntapModeMap": true,
}

// byHand are functions written by hand on Linux too: they know the link type
// Vmnet and forward every other.
var byHand = map[string]bool{"LinkAdd": true, "LinkDel": true}

// leftOut are functions that are on Linux alone, though they return an error:
// their parameters are messages of the kernel.
var leftOut = map[string]bool{"EncodeActions": true}
