"""Copies of the backups in an S3-compatible object store, encrypted before they leave the cluster (S-05, X-56).

Pure: no Pulumi. The settings are rclone's own variables: https://rclone.org/docs/#environment-variables.
"""

from settings.model import OffSite, OffSiteSecrets

SECRET = "backup-off-site"  # noqa: S105 - the name of the Secret


SECRET_KEYS = ("RCLONE_CONFIG_STORE_ACCESS_KEY_ID", "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY", "OFF_SITE_PASSWORD")


def environment(settings: OffSite, namespace: str, kind: str) -> dict[str, str]:
    """Variables of a job: the store, and the encrypted view of the bucket's directory of one kind of backup.

    The namespace is in it, so that environments may share a bucket.
    """
    return {
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "Other",
        "RCLONE_CONFIG_STORE_ENDPOINT": settings.endpoint,
        "RCLONE_CONFIG_STORE_REGION": settings.region,
        # The key needs no right to look at or to make buckets.
        "RCLONE_CONFIG_STORE_NO_CHECK_BUCKET": "true",
        "RCLONE_CONFIG_OFFSITE_TYPE": "crypt",
        "RCLONE_CONFIG_OFFSITE_REMOTE": f"store:{settings.bucket}/{namespace}/{kind}",
        "RCLONE_CONFIG_OFFSITE_FILENAME_ENCRYPTION": "off",
        "RCLONE_CONFIG_OFFSITE_DIRECTORY_NAME_ENCRYPTION": "false",
    }


def secret_data(secrets: OffSiteSecrets) -> dict[str, str]:
    """Keys of the Secret, which are variables of the job too."""
    values = (secrets.access_key_id, secrets.secret_access_key, secrets.password)
    return {key: value.get_secret_value() for key, value in zip(SECRET_KEYS, values, strict=True)}
