package main

import (
	"encoding/json"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
)

var mapsResource = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func metaItems(list runtime.Object) ([]runtime.Object, error) { return meta.ExtractList(list) }

// object reads an object as it would be written.
func (s *stage) object(text string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	s.ok(json.Unmarshal([]byte(text), &object.Object))
	return object
}

func dynamicObjects(s *stage) {
	client := dynamic.NewForConfigOrDie(s.config)
	maps := client.Resource(mapsResource).Namespace(s.namespace)
	made, err := maps.Create(s.ctx, s.object(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"a":"1"}}`), metav1.CreateOptions{})
	s.ok(err)
	changes, err := maps.Watch(s.ctx, metav1.ListOptions{ResourceVersion: made.GetResourceVersion(), FieldSelector: "metadata.name=one"})
	s.ok(err)
	defer changes.Stop()
	patched, err := maps.Patch(s.ctx, "one", types.MergePatchType, []byte(`{"data":{"b":"2"}}`), metav1.PatchOptions{})
	s.ok(err)
	data, _, _ := unstructured.NestedStringMap(patched.Object, "data")
	s.check("patched", data["a"] == "1" && data["b"] == "2", data)
	event := <-changes.ResultChan()
	s.check("the change is seen", event.Type == watch.Modified, event.Type)
	applied, err := maps.Apply(s.ctx, "one", s.object(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"c":"3"}}`), metav1.ApplyOptions{FieldManager: "dynamic"})
	s.ok(err)
	data, _, _ = unstructured.NestedStringMap(applied.Object, "data")
	s.check("applied", data["c"] == "3" && data["a"] == "1", data)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, s.namespace, nil)
	informer := factory.ForResource(mapsResource)
	go informer.Informer().Run(s.ctx.Done())
	s.check("synced", cache.WaitForCacheSync(s.ctx.Done(), informer.Informer().HasSynced), nil)
	_, err = informer.Lister().ByNamespace(s.namespace).Get("one")
	s.ok(err)
	s.done("it is in the cache")
	s.ok(maps.DeleteCollection(s.ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=one"}))
	_, err = maps.Get(s.ctx, "one", metav1.GetOptions{})
	s.check("deleted", apierrors.IsNotFound(err), err)
}

func discoveryAndMapping(s *stage) {
	groups, resources, err := s.client.Discovery().ServerGroupsAndResources()
	s.ok(err)
	s.check("groups and resources", len(groups) > 15 && len(resources) > 20, len(groups))
	preferred, err := s.client.Discovery().ServerPreferredResources()
	s.ok(err)
	s.check("preferred resources", len(preferred) > 15, len(preferred))
	version, err := s.client.Discovery().ServerVersion()
	s.ok(err)
	s.check("the version", version.Major == "1" && version.Minor == "36", version)
	paths, err := s.client.Discovery().OpenAPIV3().Paths()
	s.ok(err)
	document, err := paths["apis/apps/v1"].Schema("application/json")
	s.ok(err)
	s.check("the document of a group", strings.Contains(string(document), "io.k8s.api.apps.v1.Deployment"), len(document))
	old, err := s.client.Discovery().OpenAPISchema()
	s.ok(err)
	s.check("the old document in protobuf", len(old.Definitions.AdditionalProperties) > 300, len(old.Definitions.AdditionalProperties))
	known := memory.NewMemCacheClient(s.client.Discovery())
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(known), known, nil)
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	s.ok(err)
	s.check("kind to resource", mapping.Resource.Resource == "deployments" && mapping.Scope.Name() == meta.RESTScopeNameNamespace, mapping)
	full, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: "hpa"})
	s.ok(err)
	s.check("a short name", full.Resource == "horizontalpodautoscalers" && full.Version == "v2", full)
	_, err = mapper.RESTMapping(schema.GroupKind{Group: "example.com", Kind: "Nothing"})
	s.check("no such kind", meta.IsNoMatchError(err), err)
}

func customResource(s *stage) {
	client := dynamic.NewForConfigOrDie(s.config)
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err := definitions.Create(s.ctx, s.object(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
		"metadata":{"name":"gauges.client-go.example.com"},"spec":{"group":"client-go.example.com","scope":"Namespaced",
		"names":{"plural":"gauges","singular":"gauge","kind":"Gauge","listKind":"GaugeList","shortNames":["gg"]},
		"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},"schema":{"openAPIV3Schema":{"type":"object",
		"properties":{"spec":{"type":"object","properties":{"size":{"type":"integer","minimum":1,"default":3}}},
		"status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}}`), metav1.CreateOptions{})
	s.ok(err)
	defer func() { _ = definitions.Delete(s.ctx, "gauges.client-go.example.com", metav1.DeleteOptions{}) }()
	known := memory.NewMemCacheClient(s.client.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(known)
	s.until("the mapper knows it", func() bool {
		mapper.Reset()
		_, err := mapper.RESTMapping(schema.GroupKind{Group: "client-go.example.com", Kind: "Gauge"})
		return err == nil
	})
	gauges := client.Resource(schema.GroupVersionResource{Group: "client-go.example.com", Version: "v1", Resource: "gauges"}).Namespace(s.namespace)
	var made *unstructured.Unstructured
	s.until("it can be made", func() bool {
		made, err = gauges.Create(s.ctx, s.object(`{"apiVersion":"client-go.example.com/v1","kind":"Gauge","metadata":{"name":"one"},"spec":{}}`), metav1.CreateOptions{})
		return err == nil
	})
	size, _, _ := unstructured.NestedInt64(made.Object, "spec", "size")
	s.check("its default", size == 3, size)
	s.ok(unstructured.SetNestedField(made.Object, "yes", "status", "ready"))
	made, err = gauges.UpdateStatus(s.ctx, made, metav1.UpdateOptions{})
	s.ok(err)
	s.check("its generation stays", made.GetGeneration() == 1, made.GetGeneration())
	_, err = gauges.Patch(s.ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":0}}`), metav1.PatchOptions{})
	s.check("its limits", apierrors.IsInvalid(err), err)
}

func serverSideApply(s *stage) {
	const image = "skiff.local/echo:v1"
	deployments := s.client.AppsV1().Deployments(s.namespace)
	selected := map[string]string{"app": "web"}
	wanted := func(image string) *applyappsv1.DeploymentApplyConfiguration {
		container := applycorev1.Container().WithName("web").WithImage(image)
		template := applycorev1.PodTemplateSpec().WithLabels(selected).WithSpec(applycorev1.PodSpec().WithContainers(container))
		spec := applyappsv1.DeploymentSpec().WithReplicas(0).WithTemplate(template).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(selected))
		return applyappsv1.Deployment("web", s.namespace).WithSpec(spec)
	}
	mine := metav1.ApplyOptions{FieldManager: "mine"}
	made, err := deployments.Apply(s.ctx, wanted(image), mine)
	s.ok(err)
	again, err := deployments.Apply(s.ctx, wanted(image), mine)
	s.ok(err)
	s.check("nothing changes", made.Generation == again.Generation, again.Generation)
	_, err = deployments.Apply(s.ctx, wanted("skiff.local/echo:v2"), metav1.ApplyOptions{FieldManager: "other"})
	s.check("a conflict", apierrors.IsConflict(err) && strings.Contains(err.Error(), `conflict with "mine"`), err)
	forced, err := deployments.Apply(s.ctx, wanted("skiff.local/echo:v2"), metav1.ApplyOptions{FieldManager: "other", Force: true})
	s.ok(err)
	s.check("forced", forced.Spec.Template.Spec.Containers[0].Image == "skiff.local/echo:v2", forced.Spec)
	extracted, err := applyappsv1.ExtractDeployment(forced, "mine")
	s.ok(err)
	left := extracted.Spec.Template.Spec.Containers[0]
	s.check("what is still mine", left.Image == nil && *left.Name == "web" && *extracted.Spec.Replicas == 0, left)
	fewer := wanted("skiff.local/echo:v2")
	fewer.Spec.Replicas = nil
	_, err = deployments.Apply(s.ctx, fewer, mine)
	s.ok(err)
	status := applyappsv1.Deployment("web", s.namespace).WithStatus(applyappsv1.DeploymentStatus().WithCollisionCount(7))
	told, err := deployments.ApplyStatus(s.ctx, status, metav1.ApplyOptions{FieldManager: "teller", Force: true})
	s.ok(err)
	s.check("the status", *told.Status.CollisionCount == 7, told.Status)
	scale, err := deployments.GetScale(s.ctx, "web", metav1.GetOptions{})
	s.ok(err)
	scale.Spec.Replicas = 0
	_, err = deployments.UpdateScale(s.ctx, "web", scale, metav1.UpdateOptions{})
	s.ok(err)
	s.done("the scale")
}

func protobufContent(s *stage) {
	config := rest.CopyConfig(s.config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf
	client, count := counted(config)
	answered := func() bool {
		contentType, _ := count.contentType.Load().(string)
		return strings.HasPrefix(contentType, runtime.ContentTypeProtobuf)
	}
	labels := map[string]string{"app": "p"}
	replicas := int32(0)
	wanted := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "skiff.local/echo:v1"}}}}}}
	deployments := client.AppsV1().Deployments(s.namespace)
	made, err := deployments.Create(s.ctx, wanted, metav1.CreateOptions{})
	s.ok(err)
	s.check("created", answered() && made.Spec.Template.Spec.DNSPolicy == corev1.DNSClusterFirst, count.contentType.Load())
	changes, err := deployments.Watch(s.ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	s.ok(err)
	defer changes.Stop()
	s.check("a watch", answered(), count.contentType.Load())
	patched, err := deployments.Patch(s.ctx, "p", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"seen":"yes"}}}`), metav1.PatchOptions{})
	s.ok(err)
	s.check("patched", answered() && patched.Labels["seen"] == "yes", patched.Labels)
	for event := range changes.ResultChan() {
		if object, is := event.Object.(*appsv1.Deployment); is && object.Labels["seen"] == "yes" {
			s.done("the change is seen")
			break
		}
	}
	list, err := client.AppsV1().Deployments(s.namespace).List(s.ctx, metav1.ListOptions{})
	s.ok(err)
	s.check("listed", answered() && len(list.Items) == 1, len(list.Items))
	_, err = deployments.Get(s.ctx, "nothing", metav1.GetOptions{})
	s.check("an error", answered() && apierrors.IsNotFound(err), err)
	s.ok(deployments.Delete(s.ctx, "p", metav1.DeleteOptions{}))
	s.check("deleted", answered(), count.contentType.Load())
}

func typedErrors(s *stage) {
	maps := s.client.CoreV1().ConfigMaps(s.namespace)
	made := s.settings("one", nil)
	_, err := maps.Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{})
	s.check("there already", apierrors.IsAlreadyExists(err), err)
	_, err = maps.Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "One"}}, metav1.CreateOptions{})
	status, is := err.(apierrors.APIStatus)
	s.check("invalid", is && apierrors.IsInvalid(err) && status.Status().Details.Causes[0].Field == "metadata.name", err)
	made.ResourceVersion = "1"
	_, err = maps.Update(s.ctx, made, metav1.UpdateOptions{})
	s.check("a conflict", apierrors.IsConflict(err), err)
	uid := types.UID("other")
	err = maps.Delete(s.ctx, "one", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	s.check("a precondition", apierrors.IsConflict(err), err)
	_, err = maps.List(s.ctx, metav1.ListOptions{LabelSelector: "a b"})
	s.check("a bad request", apierrors.IsBadRequest(err), err)
	_, err = maps.List(s.ctx, metav1.ListOptions{Limit: 1, Continue: "nonsense"})
	s.check("a bad token", apierrors.IsBadRequest(err), err)
	_, err = maps.List(s.ctx, metav1.ListOptions{ResourceVersion: "999999999", ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	s.check("a version to come", apierrors.IsTimeout(err) && apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge), err)
	_, err = s.client.CoreV1().ConfigMaps("nowhere").Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	s.check("no namespace", apierrors.IsNotFound(err), err)
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "ann"}
	client := dynamic.NewForConfigOrDie(config)
	_, err = client.Resource(mapsResource).Namespace(s.namespace).Get(s.ctx, "one", metav1.GetOptions{})
	s.check("forbidden", apierrors.IsForbidden(err), err)
	config = rest.AnonymousClientConfig(s.config)
	config.BearerToken = "nonsense"
	_, err = dynamic.NewForConfigOrDie(config).Resource(mapsResource).Namespace(s.namespace).Get(s.ctx, "one", metav1.GetOptions{})
	s.check("unauthorized", apierrors.IsUnauthorized(err), err)
}
