// Command cyclonus has the policy engine of github.com/mattfenwick/cyclonus judge network policies: which cells of a
// reachability table are open. It is a second opinion on checks/policy_engine.py and shares no code with it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// namespaceLabel is the label that Kubernetes itself puts on every namespace, and the only one that is taken for given.
const namespaceLabel = "kubernetes.io/metadata.name"

// question is what standard input holds.
type question struct {
	Ends  []end  `json:"ends"`
	Ports []port `json:"ports"`
	Sets  []set  `json:"sets"`
}

// end is a pod, or with no namespace an address that is no pod's. A pod has one of several addresses.
type end struct {
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
	Addresses []string          `json:"addresses"`
}

type port struct {
	Protocol corev1.Protocol `json:"protocol"`
	Number   int             `json:"number"`
}

// set is all policies of a cluster and the cells that are asked of them.
type set struct {
	Policies []*networkingv1.NetworkPolicy `json:"policies"`
	Cells    []cell                        `json:"cells"`
}

// cell is one direction of the pod Own with the end Other, both by their place among the ends.
type cell struct {
	Ingress bool `json:"ingress"`
	Own     int  `json:"own"`
	Other   int  `json:"other"`
}

func main() {
	var asked question
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		fmt.Fprintf(os.Stderr, "standard input is no question: %v\n", err)
		os.Exit(2)
	}
	peers := make([][]*matcher.TrafficPeer, len(asked.Ends))
	for at, each := range asked.Ends {
		peers[at] = each.peers()
	}
	answers := make([]string, len(asked.Sets))
	var running sync.WaitGroup
	free := make(chan struct{}, runtime.NumCPU())
	for at, each := range asked.Sets {
		running.Add(1)
		free <- struct{}{}
		go func() {
			defer running.Done()
			answers[at] = each.judge(peers, asked.Ports)
			<-free
		}()
	}
	running.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// peers is the end once for each of its addresses.
func (each end) peers() []*matcher.TrafficPeer {
	var pod *matcher.InternalPeer
	if each.Namespace != "" {
		pod = &matcher.InternalPeer{
			Namespace:       each.Namespace,
			NamespaceLabels: map[string]string{namespaceLabel: each.Namespace},
			PodLabels:       each.Labels,
		}
	}
	found := make([]*matcher.TrafficPeer, len(each.Addresses))
	for at, address := range each.Addresses {
		found[at] = &matcher.TrafficPeer{Internal: pod, IP: address}
	}
	return found
}

// judge answers with one digit for each port of each cell, in their order: 1 is open, to the other end at any address.
func (each set) judge(peers [][]*matcher.TrafficPeer, ports []port) string {
	policies := matcher.BuildNetworkPolicies(false, each.Policies)
	answer := make([]byte, 0, len(each.Cells)*len(ports))
	for _, asked := range each.Cells {
		for _, port := range ports {
			digit := byte('0')
			for _, other := range peers[asked.Other] {
				traffic := &matcher.Traffic{
					Source: peers[asked.Own][0], Destination: other, ResolvedPort: port.Number, Protocol: port.Protocol,
				}
				if asked.Ingress {
					traffic.Source, traffic.Destination = traffic.Destination, traffic.Source
				}
				if policies.IsIngressOrEgressAllowed(traffic, asked.Ingress).IsAllowed() {
					digit = '1'
					break
				}
			}
			answer = append(answer, digit)
		}
	}
	return string(answer)
}
