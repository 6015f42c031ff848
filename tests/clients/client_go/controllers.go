package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
)

// elect runs for the lease until the returned function is called; the channel says when it leads.
func (s *stage) elect(identity string) (leads <-chan struct{}, resign func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	leading, ended := make(chan struct{}), make(chan struct{})
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: s.namespace},
		Client:     s.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 300 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(leading) },
			OnStoppedLeading: func() {},
		},
	})
	s.ok(err)
	go func() {
		elector.Run(ctx)
		close(ended)
	}()
	return leading, func() {
		cancel()
		<-ended
	}
}

func (s *stage) within(what string, happens <-chan struct{}) {
	select {
	case <-happens:
		s.done(what)
	case <-time.After(statePatience):
		panic(failure{"not " + what})
	}
}

func leaderElection(s *stage) {
	first, resign := s.elect("first")
	s.within("the first leads", first)
	second, end := s.elect("second")
	defer end()
	select {
	case <-second:
		panic(failure{"two lead"})
	case <-time.After(2 * time.Second):
		s.done("the second waits")
	}
	resign()
	s.within("the second leads", second)
	lease, err := s.client.CoordinationV1().Leases(s.namespace).Get(s.ctx, "leader", metav1.GetOptions{})
	s.ok(err)
	s.check("the lease says so", *lease.Spec.HolderIdentity == "second", *lease.Spec.HolderIdentity)
	s.check("how often it changed hands", *lease.Spec.LeaseTransitions >= 1, *lease.Spec.LeaseTransitions)
}

// A controller that labels what it sees and tells about it, with a first failure that is tried again.
func queueAndEvents(s *stage) {
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: s.client.CoreV1().Events(s.namespace)})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "sample"})
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	defer queue.ShutDown()
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithNamespace(s.namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "of=test" }))
	informer := factory.Core().V1().ConfigMaps()
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		queue.Add(object.(*corev1.ConfigMap).Name)
	}})
	s.ok(err)
	failed := sync.Map{}
	work := func(name string) error {
		if _, before := failed.LoadOrStore(name, true); !before {
			return fmt.Errorf("the first try fails")
		}
		object, err := informer.Lister().ConfigMaps(s.namespace).Get(name)
		if err != nil {
			return err
		}
		object = object.DeepCopy()
		object.Labels["done"] = "yes"
		if _, err = s.client.CoreV1().ConfigMaps(s.namespace).Update(s.ctx, object, metav1.UpdateOptions{}); err == nil {
			for range 3 {
				recorder.Eventf(object, corev1.EventTypeNormal, "Labelled", "labelled %s", name)
			}
		}
		return err
	}
	for range 2 {
		go func() {
			for {
				name, end := queue.Get()
				if end {
					return
				}
				if work(name) != nil {
					queue.AddRateLimited(name)
				} else {
					queue.Forget(name)
				}
				queue.Done(name)
			}
		}()
	}
	factory.Start(s.ctx.Done())
	factory.WaitForCacheSync(s.ctx.Done())
	for i := range 10 {
		s.settings("item-"+strconv.Itoa(i), nil)
	}
	s.until("all are labelled", func() bool {
		list, err := s.client.CoreV1().ConfigMaps(s.namespace).List(s.ctx, metav1.ListOptions{LabelSelector: "done=yes"})
		return err == nil && len(list.Items) == 10
	})
	s.until("an event counts what was said thrice", func() bool {
		selector := "involvedObject.name=item-3,reason=Labelled"
		list, err := s.client.CoreV1().Events(s.namespace).List(s.ctx, metav1.ListOptions{FieldSelector: selector})
		return err == nil && len(list.Items) == 1 && list.Items[0].Count == 3
	})
	newer := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.client.EventsV1()})
	defer newer.Shutdown()
	s.ok(newer.StartRecordingToSinkWithContext(s.ctx))
	of := &corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: s.namespace, Name: "item-3", UID: "7"}
	sample := newer.NewRecorder(scheme.Scheme, "example.com/sample")
	for range 2 {
		sample.Eventf(of, nil, corev1.EventTypeWarning, "Seen", "Looking", "seen again")
	}
	s.until("an event of the newer group is a series", func() bool {
		list, err := s.client.EventsV1().Events(s.namespace).List(s.ctx, metav1.ListOptions{FieldSelector: "reason=Seen"})
		return err == nil && len(list.Items) == 1 && list.Items[0].Action == "Looking" && list.Items[0].Series != nil
	})
}

func retriesOnConflict(s *stage) {
	const writers, each = 8, 5
	s.settings("counter", map[string]string{"count": "0"})
	maps := s.client.CoreV1().ConfigMaps(s.namespace)
	patient := retry.DefaultRetry
	patient.Steps = 200
	errors := make(chan error, writers)
	for range writers {
		go func() {
			var err error
			for i := 0; i < each && err == nil; i++ {
				err = retry.RetryOnConflict(patient, func() error {
					object, err := maps.Get(s.ctx, "counter", metav1.GetOptions{})
					if err != nil {
						return err
					}
					count, _ := strconv.Atoi(object.Data["count"])
					object.Data["count"] = strconv.Itoa(count + 1)
					_, err = maps.Update(s.ctx, object, metav1.UpdateOptions{})
					return err
				})
			}
			errors <- err
		}()
	}
	for range writers {
		s.ok(<-errors)
	}
	object, err := maps.Get(s.ctx, "counter", metav1.GetOptions{})
	s.ok(err)
	s.check("every write counts", object.Data["count"] == strconv.Itoa(writers*each), object.Data)
}

func pages(s *stage) {
	const all = 53
	for i := range all {
		s.settings(fmt.Sprintf("item-%02d", i), nil)
	}
	asked := 0
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		asked++
		return s.client.CoreV1().ConfigMaps(s.namespace).List(ctx, options)
	})
	list.PageSize = 10
	names := map[string]bool{}
	s.ok(list.EachListItem(s.ctx, metav1.ListOptions{LabelSelector: "of=test"}, func(object runtime.Object) error {
		names[object.(*corev1.ConfigMap).Name] = true
		return nil
	}))
	s.check("all items", len(names) == all, len(names))
	s.check("in pages", asked == 6, asked)
	whole, paged, err := list.List(s.ctx, metav1.ListOptions{LabelSelector: "of=test"})
	s.ok(err)
	items, err := metaItems(whole)
	s.ok(err)
	s.check("one list of pages", paged && len(items) == all, len(items))
	first, err := s.client.CoreV1().ConfigMaps(s.namespace).List(s.ctx, metav1.ListOptions{Limit: 50})
	s.ok(err)
	s.check("what is left is said", first.Continue != "" && *first.RemainingItemCount == 4, first.RemainingItemCount)
}
