package netlink

// LinkAdd makes a link: a [*Vmnet] by the shim.
func LinkAdd(link Link) error {
	if v, ok := link.(*Vmnet); ok {
		return v.add()
	}
	return notImplemented("LinkAdd")
}

// LinkDel ends a link.
func LinkDel(link Link) error {
	if v, ok := link.(*Vmnet); ok {
		return v.del()
	}
	return notImplemented("LinkDel")
}

// NewHandle returns a Handle.
func NewHandle(_ ...int) (*Handle, error) { return &Handle{}, nil }
