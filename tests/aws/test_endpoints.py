"""Where the service is, for settings and an environment."""

import re

import pytest
from deepgram_sagemaker.aws import endpoints
from deepgram_sagemaker.aws.endpoints import (
    resolve_ca_bundle,
    resolve_endpoint_uri,
    resolve_proxy,
)
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.errors import ValidationError

HTTP2 = "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2"
FIPS = "AWS_USE_FIPS_ENDPOINT"
DUAL = "AWS_USE_DUALSTACK_ENDPOINT"
IGNORE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"


def config(**fields):
    return SageMakerConfig("ep", **fields)


# Region, then the hosts: plain, FIPS, dual-stack, both.
@pytest.mark.parametrize(
    ("region", "plain", "fips", "dual", "both"),
    [
        (
            "us-west-2",
            "runtime.sagemaker.us-west-2.amazonaws.com",
            "runtime-fips.sagemaker.us-west-2.amazonaws.com",
            "runtime.sagemaker.us-west-2.api.aws",
            "runtime-fips.sagemaker.us-west-2.api.aws",
        ),
        (
            "cn-northwest-1",
            "runtime.sagemaker.cn-northwest-1.amazonaws.com.cn",
            "runtime-fips.sagemaker.cn-northwest-1.amazonaws.com.cn",
            "runtime.sagemaker.cn-northwest-1.api.amazonwebservices.com.cn",
            "runtime-fips.sagemaker.cn-northwest-1.api.amazonwebservices.com.cn",
        ),
        (
            "us-gov-west-1",
            "runtime.sagemaker.us-gov-west-1.amazonaws.com",
            "runtime-fips.sagemaker.us-gov-west-1.amazonaws.com",
            "runtime.sagemaker.us-gov-west-1.api.aws",
            "runtime-fips.sagemaker.us-gov-west-1.api.aws",
        ),
        (
            "us-iso-east-1",
            "runtime.sagemaker.us-iso-east-1.c2s.ic.gov",
            "runtime-fips.sagemaker.us-iso-east-1.c2s.ic.gov",
            "runtime.sagemaker.us-iso-east-1.api.aws.ic.gov",
            "runtime-fips.sagemaker.us-iso-east-1.api.aws.ic.gov",
        ),
        (
            "us-isob-east-1",
            "runtime.sagemaker.us-isob-east-1.sc2s.sgov.gov",
            "runtime-fips.sagemaker.us-isob-east-1.sc2s.sgov.gov",
            "runtime.sagemaker.us-isob-east-1.api.aws.scloud",
            "runtime-fips.sagemaker.us-isob-east-1.api.aws.scloud",
        ),
        (
            "eu-isoe-west-1",
            "runtime.sagemaker.eu-isoe-west-1.cloud.adc-e.uk",
            "runtime.sagemaker-fips.eu-isoe-west-1.cloud.adc-e.uk",
            "runtime.sagemaker.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
            "runtime.sagemaker-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
        ),
        (
            "us-isof-south-1",
            "runtime.sagemaker.us-isof-south-1.csp.hci.ic.gov",
            "runtime-fips.sagemaker.us-isof-south-1.csp.hci.ic.gov",
            "runtime.sagemaker.us-isof-south-1.api.aws.hci.ic.gov",
            "runtime-fips.sagemaker.us-isof-south-1.api.aws.hci.ic.gov",
        ),
        (
            "eusc-de-east-1",
            "runtime.sagemaker.eusc-de-east-1.amazonaws.eu",
            "runtime-fips.sagemaker.eusc-de-east-1.amazonaws.eu",
            "runtime.sagemaker.eusc-de-east-1.api.amazonwebservices.eu",
            "runtime-fips.sagemaker.eusc-de-east-1.api.amazonwebservices.eu",
        ),
        (
            "xx-future-9",
            "runtime.sagemaker.xx-future-9.amazonaws.com",
            "runtime-fips.sagemaker.xx-future-9.amazonaws.com",
            "runtime.sagemaker.xx-future-9.api.aws",
            "runtime-fips.sagemaker.xx-future-9.api.aws",
        ),
    ],
)
def test_regional_hosts(region, plain, fips, dual, both):
    def settings(**flags):
        return resolve_endpoint_uri(config(region=region, **flags), {})

    def environment(**flags):
        return resolve_endpoint_uri(config(region=region), flags)

    assert settings() == environment() == f"https://{plain}:8443"
    assert settings(use_fips_endpoint=True) == f"https://{fips}:8443"
    assert environment(**{FIPS: "true"}) == f"https://{fips}:8443"
    assert settings(use_dualstack_endpoint=True) == f"https://{dual}:8443"
    assert environment(**{DUAL: "True"}) == f"https://{dual}:8443"
    both_on = settings(use_fips_endpoint=True, use_dualstack_endpoint=True)
    assert both_on == environment(**{FIPS: "true", DUAL: "true"}) == f"https://{both}:8443"


def test_suffixes_are_those_of_botocore_for_every_region_it_knows():
    from botocore.loaders import Loader

    regions = [
        (region, partition["outputs"])
        for partition in Loader().load_data("partitions")["partitions"]
        for region in partition["regions"]
        if not region.endswith("-global")
    ]
    assert len(regions) > 30
    for region, outputs in regions:
        plain = resolve_endpoint_uri(config(region=region), {})
        assert plain == f"https://runtime.sagemaker.{region}.{outputs['dnsSuffix']}:8443"
        dual = resolve_endpoint_uri(config(region=region, use_dualstack_endpoint=True), {})
        assert dual == f"https://runtime.sagemaker.{region}.{outputs['dualStackDnsSuffix']}:8443"


def suffixes_of_botocore():
    """Known and future regions, with both suffixes of their partition."""
    from botocore.loaders import Loader

    loader = Loader()
    known = {}
    for partition in loader.load_data("partitions")["partitions"]:
        outputs = partition["outputs"]
        suffixes = outputs["dnsSuffix"], outputs["dualStackDnsSuffix"]
        for region in partition["regions"]:
            if region.endswith("-global"):
                continue
            # A region that opens later.
            later = re.sub(r"[a-z]+-[0-9]+$", "nowhere-97", region)
            assert re.match(partition["regionRegex"], later)
            known |= {region: suffixes, later: suffixes}
    for partition in loader.load_data("endpoints")["partitions"]:
        for region in partition["regions"]:
            assert known[region][0] == partition["dnsSuffix"]
    return known


def test_every_partition_of_botocore_has_its_row():
    known = suffixes_of_botocore()
    for region, (plain, dual) in known.items():
        (row, *_) = (each for each in endpoints._PARTITIONS if each.regions.fullmatch(region))
        assert (row.suffix, row.dualstack_suffix) == (plain, dual), region
    rows = {(each.suffix, each.dualstack_suffix) for each in endpoints._PARTITIONS}
    assert rows == set(known.values())


def test_every_suffix_of_botocore_means_the_streaming_port():
    for plain, dual in set(suffixes_of_botocore().values()):
        for suffix in (plain, dual):
            uri = f"https://vpce-1.runtime.sagemaker.somewhere.{suffix}"
            assert resolve_endpoint_uri(config(endpoint_uri=uri), {}) == f"{uri}:8443"


def test_settings_outrank_the_environment():
    environ = {FIPS: "true", DUAL: "true"}
    uri = resolve_endpoint_uri(
        config(use_fips_endpoint=False, use_dualstack_endpoint=False), environ
    )
    assert uri == "https://runtime.sagemaker.us-west-2.amazonaws.com:8443"


@pytest.mark.parametrize("value", ["", "false", "1", "yes", "no"])
def test_only_true_is_true(value):
    assert "fips" not in resolve_endpoint_uri(config(), {FIPS: value})


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("https://127.0.0.1:4433", "https://127.0.0.1:4433"),
        ("https://localhost", "https://localhost"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[::1]", "https://[::1]"),
        ("https://proxy.example.com/prefix/", "https://proxy.example.com/prefix"),
        ("HTTPS://Example.com/", "https://Example.com"),
        (
            "https://runtime.sagemaker.us-west-2.amazonaws.com",
            "https://runtime.sagemaker.us-west-2.amazonaws.com:8443",
        ),
        (
            "https://vpce-0a-1b.runtime.sagemaker.us-east-1.vpce.amazonaws.com/",
            "https://vpce-0a-1b.runtime.sagemaker.us-east-1.vpce.amazonaws.com:8443",
        ),
        (
            "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn",
            "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn:8443",
        ),
        ("https://runtime.sagemaker.us-east-1.api.aws", "https://runtime.sagemaker.us-east-1.api.aws:8443"),
        ("https://Runtime.SageMaker.us-east-1.AMAZONAWS.COM:", "https://Runtime.SageMaker.us-east-1.AMAZONAWS.COM:8443"),
        ("https://x.amazonaws.com:443", "https://x.amazonaws.com:443"),
        ("https://notamazonaws.com", "https://notamazonaws.com"),
        ("https://amazonaws.com.evil.example", "https://amazonaws.com.evil.example"),
    ],
)  # fmt: skip
def test_given_uris(uri, resolved):
    assert resolve_endpoint_uri(config(endpoint_uri=uri), {}) == resolved
    assert resolve_endpoint_uri(config(), {"AWS_ENDPOINT_URL": uri}) == resolved
    assert resolve_endpoint_uri(config(), {HTTP2: f" {uri} "}) == resolved


def test_which_uri_counts():
    everything = {HTTP2: "https://service", "AWS_ENDPOINT_URL": "https://all", FIPS: "true"}
    assert resolve_endpoint_uri(config(endpoint_uri="https://code"), everything) == "https://code"
    assert resolve_endpoint_uri(config(), everything) == "https://service"
    assert resolve_endpoint_uri(config(), {**everything, HTTP2: ""}) == "https://all"
    ignoring = {**everything, IGNORE: "true"}
    assert resolve_endpoint_uri(config(endpoint_uri="https://code"), ignoring) == "https://code"
    assert "runtime-fips" in resolve_endpoint_uri(config(), ignoring)


@pytest.mark.parametrize("variable", [HTTP2, "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("uri", ["http://localhost:4566", "localhost", "https://u:secret@h"])
def test_a_bad_variable_is_named(variable, uri):
    with pytest.raises(ValidationError, match=f"^{variable}=") as caught:
        resolve_endpoint_uri(config(), {variable: uri})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("flag", ["use_fips_endpoint", "use_dualstack_endpoint"])
def test_asking_for_fips_is_not_overridden_in_silence(flag):
    with pytest.raises(ValidationError, match=f"{flag}=True contradicts AWS_ENDPOINT_URL"):
        resolve_endpoint_uri(config(**{flag: True}), {"AWS_ENDPOINT_URL": "https://h"})


def test_ca_bundles(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.pem", "b.pem", "c.pem"))
    for path in (first, second, third):
        path.write_text("")
    environ = {"AWS_CA_BUNDLE": str(second), "REQUESTS_CA_BUNDLE": str(third)}
    assert resolve_ca_bundle(config(ca_bundle=first), environ) == str(first)
    assert resolve_ca_bundle(config(), environ) == str(second)
    assert resolve_ca_bundle(config(), {**environ, "AWS_CA_BUNDLE": ""}) == str(third)
    assert resolve_ca_bundle(config(), {}) is None


def test_a_ca_bundle_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValidationError, match=r"^ca_bundle=.*there is none"):
        resolve_ca_bundle(config(ca_bundle="/nowhere.pem"), {})
    with pytest.raises(ValidationError, match=r"^AWS_CA_BUNDLE="):
        resolve_ca_bundle(config(), {"AWS_CA_BUNDLE": str(tmp_path)})


HERE = "https://runtime.sagemaker.us-west-2.amazonaws.com:8443"


def test_which_proxy_counts():
    environ = {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2"}
    assert resolve_proxy(config(proxy="http://code:3"), environ, HERE) == "http://code:3"
    assert resolve_proxy(config(), environ, HERE) == "http://lower:2"
    assert resolve_proxy(config(), {"HTTPS_PROXY": "http://upper:1"}, HERE) == "http://upper:1"
    assert resolve_proxy(config(), {"HTTP_PROXY": "http://plain:1"}, HERE) is None
    assert resolve_proxy(config(), {**environ, "https_proxy": ""}, HERE) is None
    assert resolve_proxy(config(), {}, HERE) is None


def test_an_empty_proxy_is_none_at_all():
    assert resolve_proxy(config(proxy=""), {"HTTPS_PROXY": "http://p:1"}, HERE) is None


def test_a_proxy_given_in_code_is_used_whatever_no_proxy_says():
    assert resolve_proxy(config(proxy="http://p:1"), {"NO_PROXY": "*"}, HERE) == "http://p:1"


def test_a_bare_proxy_is_an_http_one():
    assert resolve_proxy(config(), {"HTTPS_PROXY": "p:3128"}, HERE) == "http://p:3128"


def test_a_bad_proxy_variable_is_named():
    with pytest.raises(ValidationError, match=r"^HTTPS_PROXY=") as caught:
        resolve_proxy(config(), {"HTTPS_PROXY": "socks5://u:secret@p"}, HERE)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "uri", "excluded"),
    [
        ("*", HERE, True),
        ("", HERE, False),
        ("amazonaws.com", HERE, True),
        (".amazonaws.com", HERE, True),
        ("*.amazonaws.com", HERE, True),
        ("AmazonAWS.com", HERE, True),
        ("azonaws.com", HERE, False),
        ("example.com, amazonaws.com", HERE, True),
        ("example.com amazonaws.com", HERE, True),
        ("amazonaws.com:8443", HERE, True),
        ("amazonaws.com:443", HERE, False),
        ("amazonaws.com:443", "https://x.amazonaws.com", True),
        ("amazonaws.com:x", HERE, False),
        (".", HERE, False),
        (",,", HERE, False),
        ("localhost", "https://localhost:1", True),
        ("localhost", "https://127.0.0.1:1", False),
        ("", "https://localhost:1", False),
        ("", "https://127.0.0.1:1", False),
        ("127.0.0.1", "https://127.0.0.1:1", True),
        ("127.0.0.1:1", "https://127.0.0.1:1", True),
        ("127.0.0.1:2", "https://127.0.0.1:1", False),
        ("10.0.0.0/8", "https://10.1.2.3:8443", True),
        ("10.0.0.0/8", "https://11.1.2.3:8443", False),
        ("10.0.0.0/8", HERE, False),
        ("10.0.0.0/99", "https://10.1.2.3:8443", False),
        ("::1", "https://[::1]:8443", True),
        ("[::1]", "https://[::1]:8443", True),
        ("[::1]:8443", "https://[::1]:8443", True),
        ("[::1]:1", "https://[::1]:8443", False),
        ("fd00::/8", "https://[fd00::5]:8443", True),
        ("fd00::/8", "https://10.0.0.1", False),
        ("0.0.1", "https://10.0.0.1", False),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_no_proxy(variable, no_proxy, uri, excluded):
    environ = {"HTTPS_PROXY": "http://p:1", variable: no_proxy}
    assert (resolve_proxy(config(), environ, uri) is None) is excluded
