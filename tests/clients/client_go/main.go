// Command client_go plays scenarios with client-go against a cluster and says in a line each how it went:
// RESULT, the name, ok and the number of steps or failed and the reason, parted by tabs.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How long a scenario may take, and how long a state until it is seen.
const (
	scenarioPatience = 90 * time.Second
	statePatience    = 40 * time.Second
	look             = 50 * time.Millisecond
)

// A stage is where a scenario plays: a namespace of its own, and somebody who counts its steps.
type stage struct {
	ctx       context.Context
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
	steps     int
}

// A failure ends a scenario.
type failure struct{ reason string }

var scenarios = []struct {
	name string
	play func(*stage)
}{
	{"informers with WatchList", informersWithWatchList},
	{"informers without WatchList", informersWithoutWatchList},
	{"informers over a broken connection", informersOverABrokenConnection},
	{"leader election", leaderElection},
	{"work queue and recorded events", queueAndEvents},
	{"retries on conflict", retriesOnConflict},
	{"pager", pages},
	{"dynamic client", dynamicObjects},
	{"discovery and mapping", discoveryAndMapping},
	{"a custom resource", customResource},
	{"server-side apply", serverSideApply},
	{"protobuf", protobufContent},
	{"errors", typedErrors},
	{"exec", execInContainers},
	{"port-forward", forwardPorts},
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// A client of tests waits for the server, not for its own limits.
	config.QPS, config.Burst = 200, 400
	chosen := os.Args[2:]
	for number, scenario := range scenarios {
		if len(chosen) > 0 && !contains(chosen, scenario.name) {
			continue
		}
		steps, reason := perform(config, fmt.Sprintf("client-go-%d", number), scenario.play)
		if reason == "" {
			fmt.Printf("RESULT\t%s\tok\t%d\n", scenario.name, steps)
		} else {
			fmt.Printf("RESULT\t%s\tfailed\tafter %d steps: %s\n", scenario.name, steps, strings.ReplaceAll(reason, "\n", " "))
		}
	}
}

func perform(config *rest.Config, namespace string, play func(*stage)) (steps int, reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), scenarioPatience)
	defer cancel()
	s := &stage{ctx: ctx, config: config, client: kubernetes.NewForConfigOrDie(config), namespace: namespace}
	defer func() {
		steps = s.steps
		if thrown := recover(); thrown != nil {
			failed, ours := thrown.(failure)
			if !ours {
				panic(thrown)
			}
			reason = failed.reason
		}
		_ = s.client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	}()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	_, err := s.client.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{})
	s.ok(err)
	s.until("the default account", func() bool {
		_, err := s.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	s.steps = 0
	play(s)
	return s.steps, ""
}

// done counts something that was shown to work.
func (s *stage) done(string) { s.steps++ }

// ok ends the scenario at an error.
func (s *stage) ok(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

// check ends the scenario unless something holds, and counts it if it does.
func (s *stage) check(what string, holds bool, shown any) {
	if !holds {
		panic(failure{fmt.Sprintf("%s: %v", what, shown)})
	}
	s.done(what)
}

// until waits for a state, and counts it.
func (s *stage) until(what string, holds func() bool) {
	err := wait.PollUntilContextTimeout(s.ctx, look, statePatience, true, func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		panic(failure{"not " + what})
	}
	s.done(what)
}

// settings makes a ConfigMap.
func (s *stage) settings(name string, data map[string]string) *corev1.ConfigMap {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "test"}}, Data: data}
	made, err := s.client.CoreV1().ConfigMaps(s.namespace).Create(s.ctx, object, metav1.CreateOptions{})
	s.ok(err)
	return made
}

func contains(list []string, wanted string) bool {
	for _, one := range list {
		if one == wanted {
			return true
		}
	}
	return false
}
