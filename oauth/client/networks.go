package client

import (
	"context"
	"net/netip"

	"gatehouse/cidr"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// isAllowedNetwork reports whether the client may authenticate from the address of the request.
func isAllowedNetwork(ctx context.Context, c *storage.Client) bool {
	if len(c.AllowedNetworks) == 0 {
		return true
	}
	address, err := netip.ParseAddr(reqevent.FromContext(ctx).Address)
	if err != nil {
		return false
	}
	for _, item := range c.AllowedNetworks {
		if p, err := cidr.Parse(item); err == nil && p.Contains(address) {
			return true
		}
	}
	return false
}

// normalizeNetworks returns CIDRs and single addresses as CIDRs, or an error for an item that is neither.
func normalizeNetworks(items List) (List, error) {
	var out List
	for _, item := range items {
		p, err := cidr.Parse(item)
		if err != nil {
			return nil, protocol.NewError(
				protocol.InvalidClientMetadata, "gatehouse_allowed_networks: "+item+" "+err.Error()+".",
			)
		}
		if p != p.Masked() {
			return nil, protocol.NewError(protocol.InvalidClientMetadata, "gatehouse_allowed_networks: "+item+
				" has bits set beyond its prefix length; write "+p.Masked().String()+", or the address without a length.")
		}
		out = append(out, p.String())
	}
	return out, nil
}
